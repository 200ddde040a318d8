"""A file that onnxruntime's own quantizer wrote with quantized operators (QOperator)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import normdiag
from tests.nets.onnx.nodes import batch_norm, norm_weights, write
from tests.nets.onnx.values import values_of

quantization = pytest.importorskip("onnxruntime.quantization")
X = np.random.default_rng(0).normal(size=(64, 3, 16, 16)).astype(np.float32)


class Calibration(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        self.batches: Iterator[np.ndarray] = iter(np.split(X, 8))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"x": batch}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """In floating point and quantized: convolutions with their activations, a pooling before BatchNorm, LayerNorm."""
    folder, random = tmp_path_factory.mktemp("quantized"), np.random.default_rng(1)
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c1"], ["s"], name="sigmoid"),
        helper.make_node("MaxPool", ["s"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        batch_norm("p", "n"),
        helper.make_node("Conv", ["n", "w2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
        helper.make_node("LeakyRelu", ["c2"], ["l"], name="leaky", alpha=0.2),
        helper.make_node("GlobalAveragePool", ["l"], ["a"], name="average"),
        helper.make_node("Flatten", ["a"], ["f"], name="flat"),
        helper.make_node("LayerNormalization", ["f", "one", "zero"], ["y"], name="ln"),
    ]
    weights = norm_weights(8) | {
        "w1": random.normal(size=(8, 3, 3, 3)).astype(np.float32),
        "w2": random.normal(size=(8, 8, 3, 3)).astype(np.float32),
        "one": np.ones(8, np.float32),
        "zero": np.zeros(8, np.float32),
    }
    plain = write(folder, nodes, {"x": ["n", 3, 16, 16]}, ["y"], weights, opset=17)
    quantized, form = folder / "quantized.onnx", quantization.QuantFormat.QOperator
    quantization.quantize_static(plain, quantized, Calibration(), quant_format=form)
    return plain, quantized


def test_norms_and_activations_between_quantized_operators_are_measured(files: tuple[Path, Path]) -> None:
    plain, quantized = files
    operators = {node.op_type for node in onnx.load(quantized).graph.node}
    assert {
        "QLinearConv",
        "QLinearSigmoid",
        "QLinearLeakyRelu",
        "BatchNormalization",
        "LayerNormalization",
    } <= operators
    one, two = normdiag.inspect(plain, X), normdiag.inspect(quantized, X)
    assert [each.layer.kind for each in two.layers] == ["batch_norm", "layer_norm"]
    drift, same = two.layers[0].drift, one.layers[0].drift
    assert drift is not None and same is not None and drift.rms == pytest.approx(same.rms, rel=0.05)
    assert [(each.kind, each.units) for each in two.activations] == [("sigmoid", 8), ("leaky_relu", 8)]
    for plain_one, activation in zip(one.activations, two.activations, strict=True):
        assert activation.saturated_fraction == pytest.approx(plain_one.saturated_fraction, abs=0.02)
        assert activation.mean_squared_derivative == pytest.approx(plain_one.mean_squared_derivative, abs=0.02)


def test_the_input_of_a_quantized_sigmoid_is_what_its_integers_stand_for(files: tuple[Path, Path]) -> None:
    _, quantized = files
    graph = onnx.load(quantized).graph
    node = next(each for each in graph.node if each.op_type == "QLinearSigmoid")
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    scale, zero = (constants[name] for name in node.input[1:3])
    integers = values_of(quantized, [node.input[0]], {"x": X})[node.input[0]]
    expected = (integers.astype(np.float64) - zero) * scale
    profile = normdiag.profile(quantized, X)
    point = next(sums for point, sums in profile.points.items() if point.role == "activation")
    seen = point.shift + point.first[0].sum(0) / point.counts.sum()
    np.testing.assert_allclose(seen, expected.mean((0, 2, 3)), atol=1e-5)


def test_what_cannot_be_folded_there_is_said(files: tuple[Path, Path], tmp_path: Path) -> None:
    result = normdiag.fold(files[1], output=tmp_path / "f.onnx")
    refusal = result.plan.refusals[0]
    assert "a quantized operation" in refusal.reason and not result.plan.steps
