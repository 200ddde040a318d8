"""What the weights say of means: against onnxruntime, which is fed another input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from normdiag.graph.importers.onnx import op_graph
from normdiag.metrics.kernels import _too_wide
from normdiag.metrics.response import with_responses
from normdiag.models.onnx.external import TensorReader
from normdiag.records import LayerMetrics, MeanResponse, Norm, OpGraph
from tests.diagnosis.networks import Truth, changed, network, report
from tests.nets.onnx.text import from_text
from tests.nets.onnx.values import values_of

RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.normal(size=(4, 2, 3, 3)).astype(np.float32),
    "square": RNG.normal(size=(4, 4, 3, 3)).astype(np.float32),
    "grouped": RNG.normal(size=(4, 1, 3, 3)).astype(np.float32),
    "m": RNG.normal(size=(2, 4)).astype(np.float32),
    "mt": RNG.normal(size=(4, 2)).astype(np.float32),
    "b": RNG.normal(size=4).astype(np.float32),
    "mean": RNG.normal(size=4).astype(np.float32),
    "var": RNG.uniform(0.5, 2, 4).astype(np.float32),
}
NORM = "y = BatchNormalization (z, gamma4, beta4, mean, var)"
FED = {
    "padded": "z = Conv <pads=[1,1,1,1]> (x, w, b)",
    "strided": "i = Identity(x) c = Conv <strides=[2,2], pads=[0,1,1,0]> (i, w) z = Identity(c)",
    "dilated": "z = Conv <dilations=[2,2], pads=[2,2,2,2]> (x, w, b)",
    "matrix": "p = GlobalAveragePool(x) f = Flatten(p) z = MatMul(f, m)",
    "Gemm": "p = GlobalAveragePool(x) f = Flatten(p) z = Gemm <transB=1, alpha=0.5, beta=2.0> (f, mt, b)",
}
UNKNOWN = {
    "in groups": "z = Conv <group=2> (x, grouped)",
    "no linear layer": "c = Concat <axis=1> (x, x) z = Relu(c)",
}


def model_of(body: str) -> onnx.ModelProto:
    outputs = "float[N,4] y" if "Flatten" in body else "float[N,4,H,W] y"
    return from_text(f"g (float[N,2,8,9] x) => ({outputs}) {{ {body} {NORM} }}", 20, **WEIGHTS)


def graph_of(body: str) -> OpGraph:
    return op_graph(model_of(body), TensorReader(Path("model.onnx")))


def metrics(graph: OpGraph, *, drifts: bool = True) -> LayerMetrics:
    """Of the graph's norm; only its name and its drift count."""
    (name,) = (op.detail.layer.name for op in graph.ops if isinstance(op.detail, Norm))

    def moved(each: Truth) -> Truth:
        return replace(each, mean=each.mean + 1.0)

    (own,) = report(changed(network(1), moved) if drifts else network(1)).layers
    return replace(own, layer=replace(own.layer, name=name))


def response_of(body: str) -> MeanResponse | None:
    graph = graph_of(body)
    (found,) = with_responses((metrics(graph),), graph)
    return found.response


@pytest.mark.parametrize("body", FED.values(), ids=FED)
def test_another_mean_at_the_input_moves_those_of_the_norm_as_the_response_says(body: str) -> None:
    model = model_of(body)
    shift = np.array([0.7, -1.3])
    x = RNG.normal(size=(3, 2, 8, 9)).astype(np.float32)
    before, after = (
        values_of(model, ["z"], {"x": each.astype(np.float32)})["z"] for each in (x, x + shift[:, None, None])
    )
    moved = (after.astype(np.float64) - before).mean(axis=(0, *range(2, after.ndim)))
    response = response_of(body)
    assert response is not None
    np.testing.assert_allclose(response.directions @ shift, moved, atol=1e-5)


def test_the_border_is_the_part_of_the_positions_that_a_kernel_leaves() -> None:
    convolved, product = (response_of(FED[kind]) for kind in ("padded", "matrix"))
    assert convolved is not None and product is not None
    assert (convolved.border, product.border) == (pytest.approx(2 / 8 + 2 / 9), 0.0)


@pytest.mark.parametrize("body", UNKNOWN.values(), ids=UNKNOWN)
def test_groups_and_what_is_not_linear_have_no_response(body: str) -> None:
    assert response_of(body) is None


def test_a_layer_as_wide_as_its_output_has_a_response() -> None:
    found = response_of("c = Concat <axis=1> (x, x) z = Conv (c, square)")
    assert found is not None and found.directions.shape == (4, 4)


def test_far_wider_layers_have_none() -> None:
    assert _too_wide(64, 32) is False and _too_wide(65, 32) is True and _too_wide(2, 1025) is True


def test_a_layer_that_does_not_drift_is_left_out() -> None:
    graph = graph_of(FED["padded"])
    (found,) = with_responses((metrics(graph, drifts=False),), graph)
    assert found.response is None


@pytest.mark.parametrize("body", [FED["padded"], FED["matrix"], FED["Gemm"]])
def test_a_response_knows_how_much_of_its_weights_was_rewritten(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("w", "m", "mt"):
        some = np.arange(WEIGHTS[name].size).reshape(WEIGHTS[name].shape) % 5 == 1
        monkeypatch.setitem(WEIGHTS, name, np.where(some, 0.0, WEIGHTS[name]).astype(np.float32))
    found = response_of(body)
    assert found is not None and found.rewritten == pytest.approx(0.23, abs=0.03)
