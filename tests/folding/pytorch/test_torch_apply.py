"""Plans carried out on exported programs: the same outputs, well-formed programs, nothing left over."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from normdiag.folding.pytorch.running import TorchEvaluator
from normdiag.models.pytorch import module_layers
from normdiag.records import Batch
from sample_models.net import DigitsCNN, DigitsTransformer
from tests.folding.pytorch.folded_cases import (
    CASES,
    IMAGES,
    ROWS,
    case,
    data,
    foldable,
    folded,
    folded_case,
    relative,
    resized,
)
from tests.nets.net import Net
from tests.nets.resnet20 import load_resnet20, prepare
from tests.nets.small import ConvBN
from tests.observe.pytorch.helpers import settled

FLOAT32 = 3e-6


def reloaded(program: ExportedProgram) -> ExportedProgram:
    stream = io.BytesIO()
    torch.export.save(program, stream)
    stream.seek(0)
    return torch.export.load(stream)


@pytest.mark.parametrize("name", CASES)
def test_same_outputs_for_any_batch_size(name: str) -> None:
    _, batch, original, result = folded_case(name)
    assert len([step for step in result.plan.steps if step.kind != "scale_shift"]) == CASES[name][2]
    again = reloaded(result.program)
    for size in (1, 8):
        inputs = resized(batch, size)
        expected = original.evaluator().run(inputs)
        assert relative(result.evaluator().run(inputs), expected) < FLOAT32
        assert relative(TorchEvaluator(again).run(inputs), expected) < FLOAT32


@pytest.mark.parametrize("name", CASES)
def test_no_norm_is_lost_on_the_way_to_the_plan(name: str) -> None:
    """So that nothing needs to be counted as folded by the export."""
    module, _, _, result = folded_case(name)
    done = {step.norm for step in result.plan.steps} | {refusal.norm for refusal in result.plan.refusals}
    asked = [layer.name for layer in module_layers(module) if layer.kind == "batch_norm"]
    assert set(asked) <= done
    assert len(asked) <= result.plan.norms


@pytest.mark.parametrize("name", CASES)
def test_points_agree(name: str) -> None:
    _, batch, original, result = folded_case(name)
    points = result.points
    before = original.evaluator([point.before for point in points]).run(batch)
    after = result.evaluator([point.after for point in points]).run(batch)
    assert len(points) >= min(1, len(result.plan.steps))
    for point in points:
        assert relative({"": after[point.after]}, {"": before[point.before]}) < FLOAT32, point


@pytest.mark.parametrize("name", CASES)
def test_model_takes_and_returns_the_same_structure(name: str) -> None:
    module, batch, _, result = folded_case(name)
    tensors = [torch.from_numpy(array) for array in batch.arrays]
    with torch.no_grad():
        expected, found = module(*tensors), result.model(*tensors)
    assert torch.utils._pytree.tree_structure(found) == torch.utils._pytree.tree_structure(expected)
    assert result.model.eval() is result.model


@pytest.mark.parametrize(
    "name, names",
    [
        ("conv", {"conv.weight", "conv.bias", "fc.weight", "fc.bias"}),
        ("parametrized", {f"{layer}.{role}" for layer in "abcd" for role in ("weight", "bias")}),
        ("shared conv", {"conv.weight", "conv.bias", "conv.weight_1", "conv.bias_1"}),
        ("functional", {"w", "k"}),
        ("frozen", {"conv.weight", "conv.bias", "last.weight", "last.bias"}),
        ("shift stays", {"0.shift", "1.weight", "1.bias"}),
    ],
)
def test_what_is_stored(name: str, names: set[str]) -> None:
    assert set(folded_case(name)[3].program.state_dict) == names


def test_tied_weights_part() -> None:
    module, batch = case("tied")
    original, result = folded(module, batch)
    state = result.program.state_dict
    values = [state[name] for name in state if name.endswith("weight")]
    assert len(values) == 2 and not torch.equal(*values)
    assert any(torch.equal(value, module.b.weight) for value in values)
    assert result.size_bytes == original.size_bytes - (4 * 6 * 4 + 8) + 6 * 6 * 4  # the norm and its counter, a weight


def test_what_was_copied_has_the_name_that_the_module_gives_it() -> None:
    convolution, norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
    twice = Net(lambda s, x: s.conv(torch.relu(s.bn(s.conv(x)))), conv=convolution, bn=norm)
    _, result = folded(settled(twice), IMAGES)
    assert [copied.parameter for copied in result.plan.copies] == ["conv.weight", "conv.bias"]


def test_size_counts_each_tensor_once() -> None:
    module, batch = case("tied")
    held = {id(value): value.nbytes for value in (*module.parameters(), *module.buffers())}
    assert foldable(module, batch).size_bytes == sum(held.values())


def test_unscaled_weights_stay_as_they_are() -> None:
    """A norm that only shifts leaves the weight's tensor alone."""
    module = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, eps=0.0))
    module[1].running_mean.normal_()
    original, result = folded(module.eval(), ROWS)
    assert result.program.state_dict["0.weight"] is original.program.state_dict["0.weight"]
    assert relative(result.evaluator().run(ROWS), original.evaluator().run(ROWS)) < FLOAT32


def test_layer_norms_lose_their_affine() -> None:
    for kind in ("layer", "rms"):
        torch.manual_seed(1)
        net = DigitsTransformer(kind)
        for value in net.parameters():
            value.data += 0.1 * torch.randn_like(value)
        original, result = folded(net.eval(), Batch((data(3, 1, 8, 8),)), ("batch", "layer"))
        assert len(result.plan.stripped) == 5
        assert not any("norm" in name for name in result.program.state_dict)
        for size in (1, 8):
            batch = resized(Batch((data(3, 1, 8, 8),)), size)
            assert relative(result.evaluator().run(batch), original.evaluator().run(batch)) < FLOAT32


def test_resnet20_on_cifar(real: Any) -> None:
    net = load_resnet20(real("akamaster/resnet20-12fca82f.th"))
    images = prepare(real("cifar10/test_100.npz"))
    original, result = folded(net, Batch((images[:2],)))
    assert len(result.plan.steps) == 19 and not result.plan.refusals
    assert relative(result.evaluator().run(Batch((images,))), original.evaluator().run(Batch((images,)))) < FLOAT32
    exact = original.exact()
    assert not isinstance(exact, str)
    assert relative(result.evaluator().run(Batch((images,))), exact.run(Batch((images,)))) < FLOAT32


@pytest.mark.parametrize("dtype, limit", [(torch.float16, 4e-3), (torch.bfloat16, 3e-2), (torch.float64, 1e-12)])
def test_other_dtypes(dtype: torch.dtype, limit: float) -> None:
    module = case("conv")[0].to(dtype)
    original, result = folded(module, IMAGES)
    assert {value.dtype for value in result.program.state_dict.values()} == {dtype}
    exact = original.exact()
    assert not isinstance(exact, str)
    expected = exact.run(IMAGES)
    assert expected["output"].dtype == np.float64
    assert relative(result.evaluator().run(IMAGES), expected) < limit
    assert relative(original.evaluator().run(IMAGES), expected) < limit


def test_exact_is_of_one_kind_throughout() -> None:
    """Casts, dtypes named in the graph, what is created without a dtype, and regions are widened too."""

    class Casting(ConvBN):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = super().forward(x.float().to(torch.float32)) + torch.arange(5.0) + torch.zeros(5, dtype=torch.float32)
            with torch.autocast("cpu", torch.bfloat16):
                return y + self.fc(x.mean((2, 3))[:, [0, 0, 0, 0]])

    torch.manual_seed(0)
    module = settled(Casting())
    exact = foldable(module, IMAGES).exact()
    assert not isinstance(exact, str)
    double = module.double()
    double.float = lambda: double  # type: ignore[method-assign]
    x = torch.from_numpy(IMAGES.arrays[0]).double()
    with torch.no_grad():
        expected = ConvBN.forward(double, x) + torch.arange(5.0) + double.fc(x.mean((2, 3))[:, [0, 0, 0, 0]])
    np.testing.assert_allclose(exact.run(IMAGES)["output"], expected.numpy(), rtol=1e-12, atol=1e-12)


def test_the_program_of_a_file_folds_and_stays() -> None:
    program = torch.export.load("sample_models/digits_cnn.pt2")
    before = {name: value.clone() for name, value in program.state_dict.items()}
    code = program.graph_module.code
    batch = Batch((data(3, 1, 8, 8),))
    original, result = folded(program, batch)
    assert len(result.plan.steps) == 3
    assert relative(result.evaluator().run(batch), original.evaluator().run(batch)) < FLOAT32
    result.model(torch.zeros(2, 1, 8, 8))
    assert program.graph_module.code == code
    assert all(torch.equal(program.state_dict[name], value) for name, value in before.items())


def test_torchscript_folds() -> None:
    module = torch.jit.load("sample_models/digits_cnn.torchscript.pt")
    batch = Batch((data(3, 1, 8, 8),))
    original, result = folded(module, batch)
    assert [spec.name for spec in original.inputs] == ["x"]
    assert len(result.plan.steps) == 3 and not any("norm" in name for name in result.program.state_dict)
    with torch.no_grad():
        expected = module(torch.from_numpy(batch.arrays[0])).numpy()
    assert relative(result.evaluator().run(batch), {"output": expected}) < 1e-4


def test_running_the_model_leaves_the_program_alone() -> None:
    module, batch = case("counting")
    _, result = folded(module, batch)
    x = torch.from_numpy(batch.arrays[0])
    assert [float(result.model(x)[1]) for _ in range(2)] == [2.0, 3.0]
    assert float(result.program.state_dict["calls"]) == 0.0


def test_what_does_not_track_stays() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    original, result = folded(module, IMAGES)
    assert len(result.plan.refusals) == 1 and not result.plan.steps
    assert relative(result.evaluator().run(IMAGES), original.evaluator().run(IMAGES)) == 0.0


def test_training_flag_of_the_module_does_not_matter() -> None:
    module = DigitsCNN().train()
    _, result = folded(module, Batch((data(3, 1, 8, 8),)))
    assert len(result.plan.steps) == 3
    assert all(each.training for each in module.modules())
