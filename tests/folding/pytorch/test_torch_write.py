"""The files: what is in them, and that they appear whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest
import torch
from safetensors import safe_open
from torch import nn

import normdiag
from normdiag.errors import InputError, UsageError
from normdiag.folding.options import ExportOptions
from normdiag.folding.pytorch import onnx_check
from normdiag.folding.pytorch.onnx_file import export_onnx, save_onnx
from normdiag.records import Batch
from normdiag.records.model import Array
from tests.folding.pytorch.folded_cases import IMAGES, case, folded, folded_case, relative, resized
from tests.nets.onnx.values import outputs_of, session

CLOSE = 3e-6


def run(path: Path, batch: Batch) -> dict[str, Array]:
    names = batch.names or [value.name for value in session(path).get_inputs()]
    return outputs_of(path, dict(zip(names, batch.arrays, strict=True)))


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def shapes(values: Any) -> dict[str, list[Any]]:
    return {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim] for value in values
    }


@pytest.mark.parametrize("name", ["conv", "two inputs", "counting", "parametrized", "shift stays"])
def test_onnx(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _, batch, original, result = folded_case(name)
    path = tmp_path / "out.onnx"
    assert result.write(path) == ()
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert "BatchNormalization" not in operators(path)
    for size in (1, 8):
        inputs = resized(batch, size)
        assert relative(run(path, inputs), original.evaluator().run(inputs)) < CLOSE
    assert [each.name for each in tmp_path.iterdir()] == ["out.onnx"]
    (tmp_path / "usual").touch()
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert capfd.readouterr() == ("", "")


def test_onnx_holds_nothing_but_the_model(tmp_path: Path) -> None:
    folded_case("conv")[3].write(tmp_path / "out.onnx")
    assert operators(tmp_path / "out.onnx") == {"Conv": 1, "Relu": 1, "ReduceMean": 1, "Gemm": 1}
    graph = onnx.load(tmp_path / "out.onnx").graph
    assert shapes(graph.input) == {"x": ["batch", 3, 10, 10]} and shapes(graph.output) == {"output": ["batch", 5]}
    assert {"conv.weight", "conv.bias", "fc.weight", "fc.bias"} <= {value.name for value in graph.initializer}


def test_onnx_keeps_what_was_refused(tmp_path: Path) -> None:
    """The exporter's own fusions are off: they know no reasons."""
    statistics = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.InstanceNorm2d(4, track_running_stats=True), nn.ReLU())
    statistics[2].running_mean.normal_()
    statistics[2].running_var.uniform_(0.5, 2.0)
    for module in (case("nothing")[0], statistics.eval()):
        original, result = folded(module, IMAGES)
        result.write(tmp_path / "out.onnx")
        assert operators(tmp_path / "out.onnx")["BatchNormalization"] == 1
        assert relative(run(tmp_path / "out.onnx", IMAGES), original.evaluator().run(IMAGES)) < CLOSE


def test_onnx_options(tmp_path: Path) -> None:
    options = ExportOptions(dynamic_axes=(0, 2, 3), opset=17, input_names=("img",), output_names=("logits",))
    original, result = folded(*case("conv"), options=options)
    result.write(tmp_path / "out.onnx")
    model = onnx.load(tmp_path / "out.onnx")
    assert [each.version for each in model.opset_import if not each.domain] == [17]
    assert shapes(model.graph.input) == {"img": ["batch", 3, "img_axis2", "img_axis3"]}
    wide = Batch((np.resize(IMAGES.arrays[0], (2, 3, 7, 12)),))
    expected = {"logits": original.evaluator().run(wide)["output"]}
    assert relative(run(tmp_path / "out.onnx", wide), expected) < CLOSE


@pytest.mark.parametrize(
    "options, message",
    [
        (ExportOptions(input_names=("a", "b")), "the model has 1 inputs, and 2 input names were given"),
        (ExportOptions(output_names=("a", "b")), "the model has 1 outputs, and 2 output names were given"),
        (ExportOptions(input_names=("a",), output_names=("a",)), "'a' is the name of two inputs or outputs"),
        (ExportOptions(opset=1), "opset"),
    ],
)
def test_onnx_options_that_cannot_be(options: ExportOptions, message: str, tmp_path: Path) -> None:
    _, result = folded(*case("conv"), options=options)
    with pytest.raises(InputError, match=message):
        result.write(tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_onnx_that_computes_something_else_is_not_written(tmp_path: Path) -> None:
    _, _, _, result = folded_case("conv")
    _, other = folded(*case("conv"))
    other.program.state_dict["conv.weight"].data *= 1 + 1e-4
    exported = export_onnx(other.program, ExportOptions())
    check = partial(onnx_check.check_onnx, program=result.program, names=exported.names, example=IMAGES)
    with pytest.raises(InputError, match="gives another 'output' than the folded model, so nothing was written"):
        save_onnx(exported.model, tmp_path / "out.onnx", check)
    assert not list(tmp_path.iterdir())


def test_onnx_that_is_not_valid_is_not_written(tmp_path: Path) -> None:
    _, _, _, result = folded_case("before")
    exported = export_onnx(result.program, ExportOptions())
    exported.model.graph[0].attributes.add(onnx_ir.AttrInt64("no_such_attribute", 1))
    check = partial(onnx_check.check_onnx, program=result.program, names=exported.names, example=IMAGES)
    with pytest.raises(InputError, match=r"not valid ONNX: Unrecognized attribute: no_such_attribute"):
        save_onnx(exported.model, tmp_path / "out.onnx", check)
    assert not list(tmp_path.iterdir())


def test_onnx_with_weights_beside_it(tmp_path: Path) -> None:
    _, _, original, result = folded_case("conv")
    target = tmp_path / "out.onnx"
    for _ in range(2):
        exported = export_onnx(result.program, ExportOptions())
        check = partial(onnx_check.check_onnx, program=result.program, names=exported.names, example=IMAGES)
        (note,) = save_onnx(exported.model, target, check, largest=100)
        data = note.split()[4].rstrip(",")
        assert (tmp_path / data).exists() and "must stay beside it" in note
    assert len(list(tmp_path.iterdir())) == 3  # an older model's weights are not ours to remove
    assert relative(run(target, IMAGES), original.evaluator().run(IMAGES)) < CLOSE


def test_onnx_in_bfloat16_is_written_with_a_note(tmp_path: Path) -> None:
    """onnxruntime has no such convolution on a CPU."""
    _, result = folded(case("conv")[0].bfloat16(), IMAGES)
    (note,) = result.write(tmp_path / "out.onnx")
    assert "not verified to equal the folded model" in note
    assert "BatchNormalization" not in operators(tmp_path / "out.onnx")


@pytest.mark.parametrize("name", ["conv", "two inputs", "parametrized", "shift stays", "nothing"])
def test_pt2(name: str, tmp_path: Path) -> None:
    module, batch, _, result = folded_case(name)
    assert result.write(tmp_path / "out.pt2") == ("load it with torch.export.load('out.pt2').module()",)
    loaded = torch.export.load(tmp_path / "out.pt2").module()
    for size in (1, 8):
        tensors = [torch.from_numpy(array) for array in resized(batch, size).arrays]
        with torch.no_grad():
            expected, found = (torch.utils._pytree.tree_leaves(each(*tensors)) for each in (module, loaded))
        for one, two in zip(expected, found, strict=True):
            assert one == two if not isinstance(one, torch.Tensor) else torch.allclose(one, two, atol=1e-5, rtol=1e-5)


def test_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"end the name with \.onnx, \.pt2, \.safetensors, \.pt, \.pth"):
        folded_case("conv")[3].write(tmp_path / "out.bin")


@pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".safetensors", ".pt"])
def test_a_failing_write_leaves_the_old_file(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    _, _, _, result = folded_case("conv")
    target = tmp_path / f"out{suffix}"
    target.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        result.write(target)
    assert target.read_bytes() == b"old" and [each.name for each in tmp_path.iterdir()] == [target.name]


KILLED = """
import sys
from pathlib import Path
from tests.folding.pytorch.folded_cases import case, folded
results = [folded(*case(name))[1] for name in ("conv", "before")]
print("ready", flush=True)
while True:
    for result in results:
        for target in sys.argv[1:]:
            result.write(Path(target))
"""


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """The target is always a whole file of one model or the other."""
    targets = [tmp_path / "out.pt2", tmp_path / "out.safetensors"]
    command = [sys.executable, "-c", KILLED, *map(str, targets)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    deadline = time.monotonic() + 60
    while not all(target.exists() for target in targets) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    process.kill()
    process.wait()
    for target in targets:
        assert stored(target) in ({"conv.weight", "conv.bias", "fc.weight", "fc.bias"}, {"1.weight", "1.bias"})


def stored(path: Path) -> set[str]:
    if path.suffix == ".pt2":
        return set(torch.export.load(path).state_dict)
    with safe_open(path, "pt") as file:
        return set(file.keys())


class OnePlusRMSNorm(nn.Module):
    """As the Gemmas have it: the parameter is the scale less 1."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-0.5, 0.5, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = x.float()
        found = found * torch.rsqrt(found.pow(2).mean(-1, keepdim=True) + 1e-6)
        return (found * (1.0 + self.weight.float())).type_as(x)


def test_weights_of_a_norm_that_adds_one_are_zero(tmp_path: Path) -> None:
    torch.manual_seed(0)

    def net() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), OnePlusRMSNorm(8), nn.Linear(8, 3)).eval()

    original, target = net(), tmp_path / "folded.safetensors"
    data = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    result = normdiag.fold(original, [data], norms=("layer",), output=target)
    assert result.report.written == str(target) and [step.norm for step in result.plan.steps] == ["1"]
    rebuilt = normdiag.load_folded(net(), target)
    assert torch.equal(rebuilt[1].weight, torch.zeros(8))  # type: ignore[index]
    x = torch.from_numpy(data)
    assert torch.allclose(rebuilt(x), original(x), atol=1e-6)
