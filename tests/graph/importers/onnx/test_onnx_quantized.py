"""Parameters that quantization tools store as integers, against onnxruntime and onnx's reference implementation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

import normdiag
from normdiag.graph.importers.onnx.constants import make_constants
from normdiag.graph.importers.onnx.nodes import make_graph
from normdiag.models.onnx import load_onnx
from normdiag.models.onnx.program import opset_of
from tests.nets.digits import digits
from tests.nets.onnx.nodes import from_nodes, save, write
from tests.nets.onnx.values import outputs_of

RNG = np.random.default_rng(11)


class Reader(CalibrationDataReader):
    """The first digits, as the quantizer wants them."""

    def __init__(self, x: np.ndarray) -> None:
        self.batches = iter([{"x": x[i : i + 32]} for i in range(0, 64, 32)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


@pytest.fixture(scope="module")
def quantized(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample model as onnxruntime's quantize_static writes it (QDQ)."""
    folder = tmp_path_factory.mktemp("qdq")
    model = onnx.load(samples / "digits_cnn.onnx")
    del model.graph.value_info[:]
    onnx.save(model, folder / "net.onnx")
    reader = Reader(digits()[0])
    quantize_static(folder / "net.onnx", folder / "qdq.onnx", reader, quant_format=QuantFormat.QDQ)
    return folder / "qdq.onnx"


def test_a_statically_quantized_model_is_judged_as_its_original(quantized: Path, samples: Path) -> None:
    data = [str(samples / "digits.npz")]
    original = normdiag.inspect(samples / "digits_cnn.onnx", data=data)
    report = normdiag.inspect(quantized, data=data)
    assert [each.layer.name for each in report.layers] == ["norm1", "norm2", "norm3"]
    assert report.verdict == "ok" and report.model.parameters == original.model.parameters
    for ours, theirs in zip(report.layers, original.layers, strict=True):
        assert ours.drift is not None and theirs.drift is not None and theirs.layer.gamma is not None
        assert abs(ours.drift.corrected - theirs.drift.corrected) < 0.01
        np.testing.assert_allclose(ours.layer.gamma, theirs.layer.gamma, atol=0.01)
    options = normdiag.DataOptions(preprocess="raw")
    assert "ND301" in {each.rule for each in normdiag.inspect(quantized, data=data, data_options=options).findings}


CASES = {
    "tensor": ((3, 4), (), {}, np.int8),
    "tensor of one": ((3, 4), (1,), {}, np.uint8),
    "channel": ((3, 4), (4,), {"axis": 1}, np.int8),
    "first axis": ((3, 4, 2), (3,), {"axis": 0}, np.int8),
    "last axis": ((3, 4, 2), (2,), {"axis": -1}, np.int16),
    "blocks": ((4, 6), (4, 2), {"axis": 1, "block_size": 3}, np.int8),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("quantize", [False, True])
def test_as_the_specification_says(name: str, quantize: bool, tmp_path: Path) -> None:
    shape, scales, attributes, dtype = CASES[name]
    scale = RNG.uniform(0.01, 0.3, scales).astype(np.float32)
    zero = RNG.integers(-5 if dtype != np.uint8 else 0, 6, scales).astype(dtype)
    data = RNG.normal(size=shape).astype(np.float32) if quantize else RNG.integers(-100, 100, shape).astype(dtype)
    arrays = {"data": data, "scale": scale, "zero": zero}
    nodes = [
        helper.make_node("DequantizeLinear", ["q" if quantize else "data", "scale", "zero"], ["out"], **attributes)
    ]
    if quantize:
        nodes.insert(0, helper.make_node("QuantizeLinear", ["data", "scale", "zero"], ["q"], **attributes))
    quantized = from_nodes(nodes, {}, ["out"], arrays, opset=21, ir=10)
    program = load_onnx(save(quantized, tmp_path / "m.onnx"))
    value = make_constants(make_graph(program.proto.graph, opset_of(program.proto)), program.reader).array("out")
    (expected,) = ReferenceEvaluator(quantized).run(["out"], {})
    assert value is not None and value.dtype == np.float32
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(value, outputs_of(quantized, {})["out"], rtol=1e-6)


@pytest.mark.parametrize(
    ("scale", "zero", "attributes"),
    [
        (np.ones(3, np.float32), np.zeros(4, np.int8), {}),
        (np.ones(3, np.float32), np.zeros(3, np.int8), {"axis": 1}),
        (np.ones((2, 2), np.float32), np.zeros((2, 2), np.int8), {"axis": 1, "block_size": 5}),
        (np.ones((), np.int8), np.zeros((), np.int8), {}),
        (np.ones(3, np.float32), np.zeros(3, np.int8), {"axis": 7}),
    ],
)
def test_what_does_not_fit_is_not_constant(
    scale: np.ndarray, zero: np.ndarray, attributes: dict[str, int], tmp_path: Path
) -> None:
    node = helper.make_node("DequantizeLinear", ["data", "scale", "zero"], ["out"], **attributes)
    arrays = {"data": np.ones((2, 4), np.int8), "scale": scale, "zero": zero}
    program = load_onnx(write(tmp_path, [node], {}, ["out"], arrays, opset=21, ir=10))
    assert make_constants(make_graph(program.proto.graph, opset_of(program.proto)), program.reader).array("out") is None
