"""`normdiag.fold` whole: files in, files out, nothing written that was not verified, nothing changed that was given."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import normdiag
from normdiag.commands.fold import FoldOptions
from normdiag.errors import InputError, UsageError
from normdiag.folding.options import ExportOptions
from sample_models.net import DigitsCNN
from tests.nets.digits import digits_cnn
from tests.nets.net import Net
from tests.nets.onnx.nodes import from_nodes, save
from tests.nets.onnx.values import session

Samples = Callable[[str], Path]


def norms(path: Path) -> int:
    return sum(node.op_type == "BatchNormalization" for node in onnx.load(path).graph.node)


def test_an_onnx_file_is_folded_proven_and_written(samples: Path, tmp_path: Path) -> None:
    source, target = samples / "digits_cnn.onnx", tmp_path / "folded.onnx"
    before = source.read_bytes()
    result = normdiag.fold(source, output=target)
    assert (norms(source), norms(target)) == (3, 0)
    assert source.read_bytes() == before
    assert result.verification is not None
    assert result.verification.passed
    assert result.verification.error < 1e-5
    assert result.report.written == str(target)
    assert result.model == onnx.load(target)
    onnx.checker.check_model(target)


def test_the_file_may_be_folded_in_place(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes((samples / "digits_cnn.onnx").read_bytes())
    with pytest.raises(UsageError, match="--force"):
        normdiag.fold(path, output=path)
    content = path.read_bytes()
    about = normdiag.fold(path, output=path, force=True, verify=False).report.model
    assert (about.sha256, about.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert norms(path) == 0
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_without_a_norm_is_not_run(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without, again = tmp_path / "without.onnx", tmp_path / "again.onnx"
    normdiag.fold(samples / "digits_cnn.onnx", output=without, verify=False)
    monkeypatch.setattr(importlib.import_module("normdiag.commands.fold"), "verify", None)
    result = normdiag.fold(without, output=again)
    assert result.verification is None and "there is nothing to verify" in result.report.notes[-1]
    assert again.read_bytes() == without.read_bytes()


def test_data_can_be_given(samples: Path, tmp_path: Path) -> None:
    result = normdiag.fold(samples / "digits_cnn.onnx", output=tmp_path / "f.onnx", data=(str(samples / "digits.npz"),))
    assert result.verification is not None
    assert "digits.npz" in result.verification.source
    assert result.verification.samples == 359


def test_an_output_behind_the_last_fold_is_compared_with_float64(samples: Path) -> None:
    """It is the only output, and a folded point as well."""
    proof = normdiag.fold(samples / "digits_transformer_layer.onnx", norms=("batch", "layer")).verification
    assert proof is not None and proof.float64_error is not None and proof.original_float64_error is not None
    assert 0 < proof.float64_error < 5 * proof.original_float64_error


@pytest.mark.exports
def test_batches_may_come_only_once() -> None:
    """A generator: the batch that the export takes as its example counts in the verification all the same."""
    torch.manual_seed(0)
    result = normdiag.fold(DigitsCNN(), (torch.randn(2, 1, 8, 8) for _ in range(3)))
    assert result.verification is not None
    assert (result.verification.runs, result.verification.samples) == (3, 6)


def test_a_dry_run_writes_and_runs_nothing(samples: Path, tmp_path: Path) -> None:
    result = normdiag.fold(samples / "digits_cnn.onnx", output=tmp_path / "f.onnx", dry_run=True)
    assert len(result.plan.steps) == 3
    assert (result.verification, result.model, result.report.written) == (None, None, None)
    assert not result.report.carried_out
    assert not list(tmp_path.iterdir())


def test_without_the_proof_the_report_says_so(samples: Path, tmp_path: Path) -> None:
    result = normdiag.fold(samples / "digits_cnn.onnx", output=tmp_path / "f.onnx", verify=False)
    assert result.verification is None
    assert any("not verified" in note for note in result.report.notes)
    assert result.report.carried_out
    assert norms(tmp_path / "f.onnx") == 0


def test_a_wrong_fold_is_caught_and_not_written(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from normdiag.folding.onnx import tensors

    right = tensors.new_bias

    def wrong(layer: Any, edit: Any) -> Any:
        bias = right(layer, edit)
        if bias is not None and bias.size == 32:  # conv2
            bias[3] += 0.05
        return bias

    monkeypatch.setattr(tensors, "new_bias", wrong)
    result = normdiag.fold(samples / "digits_cnn.onnx", output=tmp_path / "f.onnx")
    assert result.verification is not None
    assert not result.verification.passed
    assert result.verification.points[0].layer == "norm2"
    assert result.report.written is None
    assert not list(tmp_path.iterdir())


@pytest.mark.exports
@pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".safetensors", ".pt"])
def test_a_module_is_folded_to_every_format_and_left_alone(suffix: str, samples: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = digits_cnn().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x = torch.randn(4, 1, 8, 8)
    target = tmp_path / f"folded{suffix}"
    result = normdiag.fold(net, [x], output=target)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert (len(result.plan.steps), len(result.plan.refusals)) == (3, 0)
    expected = net.eval()(x).detach().numpy()
    np.testing.assert_allclose(result.model(x).detach().numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(_run(target, x), expected, atol=1e-4)


def _run_onnx(path: Path, x: torch.Tensor) -> Any:
    run = session(path)
    return run.run(None, {run.get_inputs()[0].name: x.numpy()})[0]


def _run(path: Path, x: torch.Tensor) -> Any:
    if path.suffix == ".onnx":
        assert norms(path) == 0
        return _run_onnx(path, x)
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(x).detach().numpy()
    return normdiag.load_folded(DigitsCNN(), path).eval()(x).detach().numpy()


def test_weights_without_code_are_refused(samples: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--arch"):
        normdiag.fold(samples / "digits_cnn.pt", output=tmp_path / "f.onnx")


@pytest.mark.exports
def test_the_shape_of_the_input_is_found_and_said(tmp_path: Path) -> None:
    result = normdiag.fold(DigitsCNN(), output=tmp_path / "f.onnx")
    assert result.verification is not None and result.verification.passed
    (note,) = [note for note in result.report.model.notes if "no input was given" in note]
    assert "1x224x224, a usual size for conv1 on which it runs" in note


def odd() -> nn.Module:
    """Runs on one size that nobody guesses."""
    return Net(lambda s, x: s.head(s.conv(x).flatten(1)), conv=nn.Conv2d(2, 4, 3), head=nn.Linear(4 * 5 * 9, 2))


@pytest.mark.exports
def test_a_shape_that_nobody_guesses_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"runs on none of the usual inputs.*--input-shape"):
        normdiag.fold(odd(), output=tmp_path / "f.onnx")
    options = normdiag.DataOptions(input_shapes=("2,7,11",))
    assert normdiag.fold(odd(), output=tmp_path / "f.onnx", data_options=options).report.written


@pytest.mark.exports
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_program_says_what_it_takes(suffix: str, samples: Path, tmp_path: Path) -> None:
    target = tmp_path / f"folded{suffix}"
    trusted = normdiag.LoadOptions(trust=True)
    result = normdiag.fold(samples / "digits_cnn.pt2", output=target, load_options=trusted)
    assert result.verification is not None and result.verification.source == "seeded random inputs"
    assert result.verification.batch_sizes == (1, 8)
    x = torch.randn(4, 1, 8, 8)
    expected = torch.export.load(samples / "digits_cnn.pt2").module()(x).detach().numpy()
    np.testing.assert_allclose(_run(target, x), expected, atol=1e-4)


class _Looked(torch.nn.Module):
    """Takes images and numbers of things."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.norm = torch.nn.BatchNorm2d(4)
        self.table = torch.nn.Embedding(5, 4)

    def forward(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)).mean((2, 3)) + self.table(ids).mean(1)


@pytest.mark.exports
@pytest.mark.parametrize("free", [False, True])
def test_a_program_with_two_inputs_and_one_with_a_free_size(free: bool, tmp_path: Path) -> None:
    batch, height = torch.export.Dim("batch"), torch.export.Dim("height", min=4)
    shapes = ({0: batch, 2: height} if free else {0: batch}, {0: batch})
    example = (torch.randn(2, 3, 8, 8), torch.zeros(2, 6, dtype=torch.int64))
    module = torch.export.export(_Looked().eval(), example, dynamic_shapes=shapes).module()
    report = normdiag.fold(module, output=tmp_path / "f.onnx").report
    assert report.written and any("x 3x224x8 and ids 6:int64" in note for note in report.model.notes) == free
    given = normdiag.DataOptions(input_shapes=("x=3,8,8", "ids=6:int64"))
    assert normdiag.fold(module, output=tmp_path / "g.onnx", data_options=given).report.written


@pytest.mark.parametrize(
    ("name", "message"), [("f.txt", "ending"), ("f", "ending"), ("none/f.onnx", "folder"), (".", "ending")]
)
def test_outputs_that_cannot_be(name: str, message: str, samples: Path, tmp_path: Path) -> None:
    with pytest.raises((InputError, UsageError), match=message):
        normdiag.fold(samples / "digits_cnn.onnx", output=tmp_path / name)


def test_arguments_that_contradict_each_other(samples: Path, tmp_path: Path) -> None:
    model = samples / "digits_cnn.onnx"
    with pytest.raises(UsageError, match="not both"):
        normdiag.fold(model, [np.zeros((1, 1, 8, 8), np.float32)], data=("random",))
    with pytest.raises(UsageError, match=r"\.onnx"):
        normdiag.fold(model, output=tmp_path / "f.pt2")
    with pytest.raises(UsageError, match="batch,layer"):
        normdiag.fold(model, output=tmp_path / "f.onnx", norms=("group",))
    with pytest.raises(UsageError, match="--trust"):
        normdiag.fold(model, output=tmp_path / "f.onnx", load_options=normdiag.LoadOptions(trust=True))


@pytest.mark.exports
@pytest.mark.parametrize(
    ("options", "name"),
    [
        (ExportOptions(opset=18), "--opset"),
        (ExportOptions(input_names=("x",)), "--input-name"),
        (ExportOptions(output_names=("y",)), "--output-name"),
        (ExportOptions(dynamic_axes=()), "--static-batch"),
    ],
)
def test_options_of_an_export_that_is_none(options: ExportOptions, name: str, samples: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"^{name} .* digits_cnn\.onnx is an ONNX file"):
        normdiag.fold(samples / "digits_cnn.onnx", output=tmp_path / "f.onnx", export=options)
    x = torch.randn(2, 1, 8, 8)
    if name == "--static-batch":
        normdiag.fold(DigitsCNN(), [x], output=tmp_path / "f.pt2", export=options)
    else:
        with pytest.raises(UsageError, match=rf"^{name} is for \.onnx files"):
            normdiag.fold(DigitsCNN(), [x], output=tmp_path / "f.pt2", export=options)


def test_a_shape_that_fits_no_input_is_said_as_it_was_given(samples: Path) -> None:
    for shapes, said in ((("img=1,8,8",), "img=1,8,8"), (("1,8,8", "3"), "1,8,8 3")):
        with pytest.raises(UsageError, match=f"^--input-shape {said} does not fit"):
            normdiag.fold(samples / "digits_cnn.onnx", data_options=normdiag.DataOptions(input_shapes=shapes))


def test_no_smaller_batch_is_advised_where_it_is_one_sample(samples: Path) -> None:
    options = normdiag.DataOptions(input_shapes=("1,100000,100000",))
    with pytest.raises(InputError, match=r"; lower the sizes$"):
        normdiag.fold(samples / "digits_cnn.onnx", data_options=options)


def test_the_onnx_path_never_imports_torch(samples: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, normdiag\n"
        f"normdiag.fold({str(samples / 'digits_cnn.onnx')!r}, output={str(tmp_path / 'f.onnx')!r})\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_options_are_checked_before_any_work() -> None:
    with pytest.raises(UsageError):
        FoldOptions(norms=())


def test_gamma_and_beta_of_another_norm_are_no_batch_norm(
    samples: Path, tmp_path: Path, real: Callable[[str], Path]
) -> None:
    """GroupNorm as torch.onnx writes it: its scale and shift stand after an InstanceNormalization, as constants."""
    result = normdiag.fold(samples / "digits_cnn_group.onnx", output=tmp_path / "f.onnx")
    assert (result.plan.norms, result.plan.steps) == (0, ())
    assert (tmp_path / "f.onnx").read_bytes() == (samples / "digits_cnn_group.onnx").read_bytes()
    magika = real("magika/dense_v4_top_20230910.onnx")
    plan = normdiag.fold(magika, dry_run=True).plan
    assert (plan.norms, plan.refusals, {step.kind for step in plan.steps}) == (0, (), {"scale_shift"})
    both = normdiag.fold(magika, dry_run=True, norms=("batch", "layer")).plan
    assert (both.norms, {each.kind for each in both.refusals}) == (2, {"layer_norm"})


def test_what_is_no_model_is_said_so() -> None:
    for wrong in (5, None, DigitsCNN):
        with pytest.raises(UsageError, match=r"torch\.nn\.Module"):
            normdiag.fold(wrong)  # type: ignore[arg-type]


def test_load_folded_takes_weights_alone(samples: Path) -> None:
    with pytest.raises(InputError, match="ONNX"):
        normdiag.load_folded(DigitsCNN(), samples / "digits_cnn.onnx")


def test_a_training_mode_export_is_folded_when_it_may_be_set_to_evaluation(samples: Path, tmp_path: Path) -> None:
    source, target = samples / "digits_cnn_training.onnx", tmp_path / "folded.onnx"
    before = hashlib.sha256(source.read_bytes()).hexdigest()
    assert not normdiag.fold(source, output=tmp_path / "kept.onnx").plan.steps
    result = normdiag.fold(source, output=target, set_eval=True)
    assert result.verification is not None and result.verification.passed
    assert len(result.plan.steps) == 3
    assert any("put into evaluation mode" in note and "norm1" in note for note in result.report.notes)
    assert hashlib.sha256(source.read_bytes()).hexdigest() == before
    by_hand = onnx.load(source)
    for node in by_hand.graph.node:
        if node.op_type == "BatchNormalization":
            del node.output[1:]
            next(each for each in node.attribute if each.name == "training_mode").i = 0
    onnx.save(by_hand, tmp_path / "by_hand.onnx")
    x = torch.randn(5, 1, 8, 8)
    np.testing.assert_allclose(_run(target, x), _run_onnx(tmp_path / "by_hand.onnx", x), rtol=1e-4, atol=1e-4)


def test_what_only_training_mode_puts_out_may_not_be_read(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node(
            "BatchNormalization", ["x", "g", "b", "m", "v"], ["y", "m2", "v2"], "norm", training_mode=1
        ),
        onnx.helper.make_node("Dropout", ["y", "", "on"], ["z"], "drop"),
    ]
    weights = {name: np.ones(3, np.float32) for name in "gbmv"} | {"on": np.array(True)}
    model = from_nodes(nodes, {"x": ["n", 3]}, ["z", "m2"], weights, opset=18)
    save(model, tmp_path / "model.onnx")
    with pytest.raises(InputError, match="'norm' is in training mode, and the model reads what it updates"):
        normdiag.fold(tmp_path / "model.onnx", set_eval=True)
    del model.graph.output[1]
    save(model, tmp_path / "model.onnx")
    result = normdiag.fold(tmp_path / "model.onnx", set_eval=True)
    assert [len(node.input) for node in result.model.graph.node if node.op_type == "Dropout"] == [2]


def test_set_eval_is_for_onnx(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--set-eval is for ONNX models"):
        normdiag.fold(DigitsCNN(), set_eval=True)
