"""`normdiag diff` on files and modules, in both orders."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import normdiag
from normdiag.cli.app import run
from normdiag.errors import InputError, UsageError
from normdiag.records.diff import DiffReport
from normdiag.render.text import render_text
from normdiag.report.diff import diff_document
from sample_models.net import DigitsCNN

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((REPOSITORY / "docs" / "diff.schema.json").read_text())
# Files of the sample models that hold the same network.
SAME = (
    ("digits_cnn.pt", "digits_cnn_module.pt", "digits_cnn.pt2", "digits_cnn.torchscript.pt", "digits_cnn.onnx"),
    ("digits_cnn.pt", "digits_cnn_folded.onnx"),
    ("digits_cnn_group.pt", "digits_cnn_group.onnx"),
    ("digits_cnn_instance.pt", "digits_cnn_instance.onnx"),
    ("digits_transformer_layer.pt", "digits_transformer_layer.onnx"),
    ("digits_transformer_rms.pt", "digits_transformer_rms.onnx"),
    ("digits_mlp_batch_5000.pt", "digits_mlp_batch.onnx"),
    ("digits_mlp_none_5000.pt", "digits_mlp_none.onnx"),
)


def text(report: DiffReport, width: int = 100) -> str:
    return render_text(diff_document(report), width=width, color=False)


@pytest.mark.parametrize(
    ("one", "two"),
    [(files[0], other) for files in SAME for other in files[1:]]
    + [(other, files[0]) for files in SAME for other in files[1:]],
)
def test_two_files_of_one_network_are_equal(samples: Path, one: str, two: str) -> None:
    report = normdiag.diff(samples / one, samples / two)
    assert report.equal, (report.changed, report.missing)
    assert "No difference" in text(report)
    jsonschema.validate(json.loads(report.to_json()), SCHEMA)


def test_statistics_of_another_model_under_the_same_weights(samples: Path) -> None:
    report = normdiag.diff(samples / "digits_cnn.onnx", samples / "digits_cnn_foreign.pt")
    assert [each.a for each in report.changed] == ["norm1", "norm2", "norm3"]
    assert "Statistics moved though weights did not: 3 layers" in text(report)
    assert max(map(len, text(report, 60).splitlines())) <= 60
    jsonschema.validate(json.loads(report.to_json()), SCHEMA)


def test_weights_moved_though_statistics_did_not() -> None:
    a = DigitsCNN().eval()
    b = copy.deepcopy(a)
    with torch.no_grad():
        b.conv2.weight.mul_(1.1)
    report = normdiag.diff(a, b)
    assert [each.a for each in report.changed] == ["conv2"]
    assert report.changed[0].weights is not None
    assert report.changed[0].weights.relative == pytest.approx(0.1, rel=1e-4)
    assert "Weights moved though statistics did not: 1 layer" in text(report)


def test_a_module_in_training_mode(samples: Path) -> None:
    a, b = DigitsCNN().eval(), DigitsCNN()
    b.load_state_dict(a.state_dict())
    report = normdiag.diff(a, b)
    assert [each.settings[0].name for each in report.changed] == ["training"] * 3
    assert "B is in training mode where the other is not" in text(report)


def test_an_export_without_names_is_paired_by_values(samples: Path, tmp_path: Path) -> None:
    model = onnx.load(samples / "digits_cnn.onnx")
    names = {each.name: f"t{i}" for i, each in enumerate(model.graph.initializer)}
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    for i, node in enumerate(model.graph.node):
        node.name = f"n{i}"
        del node.metadata_props[:]
        node.input[:] = [names.get(each, each) for each in node.input]
    onnx.save(model, tmp_path / "bare.onnx")
    report = normdiag.diff(samples / "digits_cnn.pt", tmp_path / "bare.onnx")
    assert report.equal, (report.changed, report.missing)
    assert {each.by for each in report.layers} == {"values", "order"}
    assert "Pairs" in text(report)


def test_half_precision_is_no_difference(samples: Path, tmp_path: Path) -> None:
    state = torch.load(samples / "digits_cnn.pt", weights_only=True)
    for dtype in (torch.float16, torch.bfloat16):
        half = {name: each.to(dtype) if each.is_floating_point() else each for name, each in state.items()}
        torch.save(half, tmp_path / "half.pt")
        report = normdiag.diff(samples / "digits_cnn.pt", tmp_path / "half.pt")
        assert report.equal and "but for rounding to" in text(report)


def test_eps_that_an_export_changed(samples: Path, tmp_path: Path) -> None:
    model = onnx.load(samples / "digits_cnn.onnx")
    node = next(node for node in model.graph.node if node.op_type == "BatchNormalization")
    next(each for each in node.attribute if each.name == "epsilon").f = 1e-3
    onnx.save(model, tmp_path / "eps.onnx")
    report = normdiag.diff(samples / "digits_cnn.onnx", tmp_path / "eps.onnx")
    assert [(each.a, each.settings[0].name) for each in report.changed] == [("norm1", "eps")]


def test_a_single_weight_that_is_off(samples: Path, tmp_path: Path) -> None:
    model = onnx.load(samples / "digits_cnn.onnx")
    tensor = next(each for each in model.graph.initializer if each.name == "conv3.weight")
    values = numpy_helper.to_array(tensor).copy()
    values[5, 3, 1, 1] += 0.5
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    onnx.save(model, tmp_path / "off.onnx")
    assert [each.a for each in normdiag.diff(samples / "digits_cnn.pt", tmp_path / "off.onnx").changed] == ["conv3"]


def test_the_command_line(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = str(samples / "digits_cnn.pt"), str(samples / "digits_cnn.onnx")
    assert run(["diff", a, b, "--arch", "none"]) == 0
    assert "No difference: 7 layers paired" in capsys.readouterr().out
    assert run(["diff", a, str(samples / "digits_cnn_foreign.pt"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, SCHEMA)
    assert found["equal"] is False
    assert run(["diff", a, str(samples / "digits_cnn_foreign.pt"), "--tolerance", "2"]) == 0
    capsys.readouterr()
    assert run(["diff", a, str(samples / "digits.npz")]) == 2
    assert run(["diff", a, str(samples / "missing.pt")]) == 2
    assert run(["diff", b, b, "--trust"]) == 2
    error = capsys.readouterr().err
    assert "--trust is for PyTorch files" in error
    assert "no such file" in error and "Traceback" not in error


def test_a_tolerance_below_zero_is_refused(samples: Path) -> None:
    with pytest.raises(UsageError, match="--tolerance"):
        normdiag.diff(samples / "digits_cnn.pt", samples / "digits_cnn.pt", tolerance=-1)


REAL = Callable[[str], Path]


def test_a_published_checkpoint_and_its_published_exports(real: REAL) -> None:
    checkpoint, export = real("ultraface/version-slim-320.pth"), real("ultraface/version-slim-320.onnx")
    for one, two in ((checkpoint, export), (export, checkpoint)):
        report = normdiag.diff(one, two)
        assert report.equal and len(report.layers) == 67
    simplified = real("ultraface/version-slim-320_simplified.onnx")
    for one in (checkpoint, export):
        report = normdiag.diff(one, simplified)
        assert report.equal and sum(each.folded_into is not None for each in report.only_a) == 25


def test_two_trainings_of_one_published_network(real: REAL) -> None:
    report = normdiag.diff(real("burn/mnist.pt"), real("burn/mnist.safetensors"))
    assert len(report.changed) == len(report.layers) == 7
    norm = next(each for each in report.layers if each.a == "norm1")
    assert ("num_batches_tracked", "3752", "7504") in [(each.name, each.a, each.b) for each in norm.settings]


def test_different_networks_are_called_so(real: REAL) -> None:
    report = normdiag.diff(real("magika/standard_v3_3.onnx"), real("magika/dense_v4_top_20230910.onnx"))
    assert not report.equal and "these are different networks" in text(report)


def test_files_that_are_not_there_are_all_named(tmp_path: Path) -> None:
    a, b = tmp_path / "a.onnx", tmp_path / "b.pt"
    with pytest.raises(InputError, match=r"a\.onnx and .*b\.pt: no such files"):
        normdiag.diff(a, b)
