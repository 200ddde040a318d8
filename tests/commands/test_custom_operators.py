"""ONNX models with operators that onnxruntime does not know: the report keeps what can be known, and names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import normdiag
from normdiag.errors import InputError
from tests.nets.onnx.nodes import batch_norm, norm_weights, write

X = np.random.default_rng(0).normal(size=(12, 3, 4, 4)).astype(np.float32)


def quantized(folder: Path, before: bool) -> Path:
    """A BatchNorm, QONNX's Quant, another BatchNorm; without `before` the Quant comes first."""
    quant = helper.make_node("Quant", ["a" if before else "x", "s"], ["q"], domain="qonnx.custom_op.general", name="Q")
    first = [batch_norm("x", "a", "bn1"), quant] if before else [quant, batch_norm("q", "a", "bn1")]
    nodes = [*first, helper.make_node("Relu", ["q" if before else "a"], ["r"]), batch_norm("r", "y", "bn2")]
    weights = norm_weights(3, "bn1") | norm_weights(3, "bn2", seed=1) | {"s": np.array(0.5, np.float32)}
    path = write(folder, nodes, {"x": ["n", 3, 4, 4]}, ["y"], weights)
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("qonnx.custom_op.general", 1))
    onnx.save(model, path)
    return path


def test_the_part_before_is_run_and_the_rest_stays_in_the_report(tmp_path: Path) -> None:
    report = normdiag.inspect(quantized(tmp_path, before=True), X)
    plain = normdiag.inspect(
        write(tmp_path, [batch_norm("x", "y", "bn1")], {"x": ["n", 3, 4, 4]}, ["y"], norm_weights(3, "bn1")), X
    )
    assert [each.layer.name for each in report.layers] == ["bn1", "bn2"]
    measured, unmeasured = report.layers
    assert measured.drift is not None and plain.layers[0].drift is not None
    assert measured.drift.rms == pytest.approx(plain.layers[0].drift.rms)
    assert measured.own is not None and unmeasured.drift is None and unmeasured.layer.running_var is not None
    assert any("the operator Quant of qonnx.custom_op.general" in note for note in report.model.notes)
    assert any("not watched: needs the operator Quant" in note for note in report.notes)


def test_where_all_comes_after_it_the_file_alone_is_reported(tmp_path: Path) -> None:
    report = normdiag.inspect(quantized(tmp_path, before=False), X)
    assert len(report.layers) == 2 and report.data is None and report.verdict == "not_measured"
    assert report.why_not_run is not None and "Quant of qonnx.custom_op.general" in report.why_not_run


def test_random_data_with_free_sizes(tmp_path: Path) -> None:
    path = quantized(tmp_path, before=True)
    model = onnx.load(path)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"s{axis}"
    onnx.save(model, path)
    report = normdiag.inspect(path, data=["random"])
    assert report.layers[0].drift is not None and report.layers[1].drift is None


def test_other_commands_run_the_part_before_or_name_the_operator(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    path, nothing = quantized(tmp_path, before=True), quantized(tmp_path / "none", before=False)
    assert [point.name for point in normdiag.profile(path, X).points if point.role == "norm"] == ["bn1"]
    assert any("Quant" in note for note in normdiag.preprocess(path, X).model.notes)
    named = "the operator Quant of qonnx.custom_op.general"
    with pytest.raises(InputError, match=f"cannot be run: onnxruntime does not know {named}"):
        normdiag.profile(nothing, X)
    for run in (normdiag.recalibrate, lambda *given: normdiag.diff(path, *given)):
        with pytest.raises(InputError, match=f"it does not know {named}") as caught:
            run(path, X)
        assert "\n" not in str(caught.value)
