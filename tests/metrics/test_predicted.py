"""Means predicted without data, against onnxruntime on Gaussian inputs and against trained models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from normdiag.graph.importers.onnx import op_graph
from normdiag.metrics.laws import Law, normal_points, through
from normdiag.metrics.predicted import Predicted, predicted_means
from normdiag.models.onnx.external import TensorReader
from normdiag.records import Pointwise
from tests.nets.onnx.text import CONSTANTS, from_text
from tests.nets.onnx.values import values_of

SAMPLES = 4000
RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.normal(size=(4, 4, 3, 3)).astype(np.float32),
    "wide": RNG.normal(size=(4, 8, 3, 3)).astype(np.float32),
    "grouped": RNG.normal(size=(4, 2, 3, 3)).astype(np.float32),
    "depthwise": RNG.normal(size=(4, 1, 3, 3)).astype(np.float32),
    "two": RNG.normal(size=(2, 2, 1, 1)).astype(np.float32),
    "ms": RNG.normal(size=(4, 4)).astype(np.float32),
    "gamma1": np.array([1.2, -0.7, 0.4, 2.0], np.float32),
    "beta1": np.array([0.3, 0.1, -0.5, 1.5], np.float32),
    "b": RNG.normal(size=4).astype(np.float32),
    "mean": RNG.normal(size=4).astype(np.float32),
    "var": RNG.uniform(0.5, 2, 4).astype(np.float32),
    "slope": np.array([0.3, -0.2, 0.1, 1.5], np.float32).reshape(4, 1, 1),
    "six": np.array(6, np.float32),
    "zero": np.array(0, np.float32),
    "u0": np.array([0.5], np.float32),
    "halves": np.array([2, 2], np.int64),
    "starts": np.array([0], np.int64),
    "ends": np.array([9], np.int64),
    "axis2": np.array([2], np.int64),
    "steps": np.array([2], np.int64),
    "around": np.array([0, 1, 0, 0, 0, 3, 0, 0], np.int64),
    "aside": np.array([0, 0, 0, 1, 0, 0, 0, 1], np.int64),
}
FIRST = "n = BatchNormalization <epsilon = 0.2> (x, gamma1, beta1, mean4, var4)"
LAST = "y = BatchNormalization (z, gamma4, beta4, mean, var)"
CONV = "z = Conv <pads=[1,1,1,1]> (a, w, b)"
ACTIVATIONS = {
    "relu": "a = Relu(n)",
    "none": "a = Identity(n)",
    "leaky": "a = LeakyRelu <alpha=0.2> (n)",
    "relu6": "a = Clip(n, zero, six)",
    "sigmoid": "a = Sigmoid(n)",
    "tanh": "a = Tanh(n)",
    "silu": "s = Sigmoid(n) a = Mul(n, s)",
    "hard swish": "a = HardSwish(n)",
    "hard sigmoid": "a = HardSigmoid <alpha=0.3, beta=0.4> (n)",
    "elu": "a = Elu <alpha=0.7> (n)",
    "selu": "a = Selu(n)",
    "mish": "a = Mish(n)",
    "softplus": "a = Softplus(n)",
    "gelu": "a = Gelu(n)",
    "gelu tanh": 'a = Gelu <approximate="tanh"> (n)',
    "prelu": "a = PRelu(n, slope)",
    "dropout": "r = Relu(n) a = Dropout(r)",
    "a sum of branches": "r = Relu(n) c = Conv(r, k1) a = Add(n, c)",
    "a difference": "r = Relu(n) a = Sub(r, n)",
    "a function of a sum": "r = Relu(n) d = Add(r, n) e = Sub(d, u0) a = Relu(e)",
    "a scale and a shift": "t = Mul(n, slope) u = Add(t, gamma411) a = Relu(u)",
    "every second row": "s = Slice(n, starts, ends, axis2, steps) a = Relu(s)",
}
LINEAR = {
    "stride": "z = Conv <pads=[1,1,1,1], strides=[2,2]> (a, w, b)",
    "one-sided": "z = Conv <pads=[0,2,1,0]> (a, w, b)",
    "dilated": "z = Conv <pads=[2,3,2,3], dilations=[2,3]> (a, w)",
    "same": 'z = Conv <auto_pad="SAME_UPPER"> (a, w, b)',
    "groups": "z = Conv <pads=[1,1,1,1], group=2> (a, grouped, b)",
    "depthwise": "z = Conv <pads=[1,1,1,1], group=4> (a, depthwise, b)",
    "transposed": "z = ConvTranspose <strides=[2,2], pads=[1,0,1,0]> (a, w, b)",
    "transposed groups": "z = ConvTranspose <strides=[2,3], group=2, output_padding=[1,0]> (a, grouped)",
    "concat": "c = Concat <axis=1> (a, n) z = Conv (c, wide)",
    "concat before the norm": "p, q = Split <axis=1> (a, halves) c = Conv(p, two) z = Concat <axis=1> (q, c)",
    "average pool": "p = AveragePool <kernel_shape=[3,3]> (a) z = Conv (p, w)",
    "no layer between": "z = Relu(a)",
    "channels of zeros": "p = Pad(a, around) z = Conv (p, wide)",
    "a shortcut with channels of zeros": "p = Pad(n, around) q = Pad(a, around) s = Add(p, q) z = Conv (s, wide)",
}
ROWS = {
    "Gemm": "p = GlobalAveragePool(a) f = Flatten(p) z = Gemm <transB=1, alpha=0.5, beta=2.0> (f, ms, b)",
    "MatMul": "p = GlobalAveragePool(a) f = Flatten(p) z = MatMul(f, ms)",
    "MatMul + Add": "f = ReduceMean <keepdims=0> (a, spatial) m = MatMul(f, ms) z = Add(m, b)",
}
DARK = {
    "positions of zeros": "p = Pad(a, aside) z = Conv (p, w)",
    "max pool": "p = MaxPool <kernel_shape=[3,3]> (a) z = Conv (p, w)",
    "an activation without a norm": "c = Conv(a, w) r = Relu(c) z = Conv(r, w)",
    "squeeze and excitation": "g = GlobalAveragePool(a) c = Conv(g, k1) s = Sigmoid(c) m = Mul(a, s) z = Conv(m, w)",
    "a sum after an activation": "c = Conv <pads=[1,1,1,1]> (a, w) d = Add(c, a) r = Relu(d) z = Conv(r, w)",
    "the input": "z = Conv(x, w)",
    "a clip with computed bounds": "m = ReduceMax <keepdims=0> (x) c = Clip(n, zero, m) z = Conv(c, w)",
    "one row of all": "s = Slice(a, starts, one_end, axis2) z = Relu(s)",
}


def model_of(body: str, outputs: str = "float[N,4,H,W] y", **arrays: NDArray[np.generic]) -> onnx.ModelProto:
    arrays = {"k1": np.ones((4, 4, 1, 1), np.float32), "spatial": np.array([2, 3]), "one_end": np.array([1]), **arrays}
    text = f"g (float[N,4,6,7] x) => ({outputs}) {{ {FIRST} {body} {LAST} }}"
    return from_text(text, 20, **{**WEIGHTS, **arrays})


def predict(model: onnx.ModelProto) -> tuple[Predicted, ...]:
    return predicted_means(op_graph(model, TensorReader(Path("model.onnx"))))


def seen_mean(model: onnx.ModelProto) -> NDArray[np.float64]:
    """The mean of each channel of z where the first norm's input is as that norm's statistics say."""
    x = np.random.default_rng(1).normal(size=(SAMPLES, 4, 6, 7))
    x = x * np.sqrt(CONSTANTS["var4"])[:, None, None] + CONSTANTS["mean4"][:, None, None]
    z = values_of(model, ["z"], {"x": x.astype(np.float32)})["z"].astype(np.float64)
    return z.mean(axis=(0, *range(2, z.ndim)))


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_activations_against_onnxruntime(activation: str) -> None:
    model = model_of(f"{activation} {CONV}")
    (found,) = predict(model)
    np.testing.assert_allclose(found.predicted, seen_mean(model), atol=0.06)


@pytest.mark.parametrize("linear", LINEAR.values(), ids=LINEAR)
def test_linear_layers_against_onnxruntime(linear: str) -> None:
    model = model_of(f"a = Relu(n) {linear}")
    (found,) = predict(model)
    np.testing.assert_allclose(found.predicted, seen_mean(model), atol=0.06)


@pytest.mark.parametrize("linear", ROWS.values(), ids=ROWS)
def test_products_with_a_matrix_against_onnxruntime(linear: str) -> None:
    model = model_of(f"a = Relu(n) {linear}", "float[N,4] y")
    (found,) = predict(model)
    np.testing.assert_allclose(found.predicted, seen_mean(model), atol=0.03)


def test_a_residual_sum_of_independent_branches_is_followed_through_its_relu() -> None:
    """Channel c of the second branch comes from channel c + 2 of the input, so that what is added is independent."""
    turned = {f"{name}4t": np.roll(CONSTANTS[f"{name}4"], 2).astype(np.float32) for name in ("mean", "var")}
    turned |= {"gamma2": WEIGHTS["gamma1"][::-1].copy(), "beta2": WEIGHTS["beta1"][::-1].copy()}
    branch = "p, q = Split <axis=1> (x, halves) t = Concat <axis=1> (q, p) "
    branch += "m = BatchNormalization <epsilon = 0.2> (t, gamma2, beta2, mean4t, var4t) "
    model = model_of(f"{branch} r = Relu(m) d = Sub(n, r) a = Relu(d) {CONV}", **turned)
    (found,) = predict(model)
    np.testing.assert_allclose(found.predicted, seen_mean(model), atol=0.03)


@pytest.mark.parametrize("body", DARK.values(), ids=DARK)
def test_nothing_is_said_where_the_mean_is_not_known(body: str) -> None:
    rest = "q = Identity(a)" if body.startswith("z = Conv(x") else ""
    assert predict(model_of(f"a = Relu(n) {rest} {body}")) == ()


def test_flattened_positions_are_not_predicted() -> None:
    rows = np.ones((168, 4), np.float32)
    assert predict(model_of("a = Relu(n) f = Flatten(a) z = MatMul(f, rows)", "float[N,4] y", rows=rows)) == ()


def test_free_sizes_leave_the_border_out() -> None:
    body = f"g (float[N,4,H,W] x) => (float[N,4,H,W] y) {{ {FIRST} a = Relu(n) {CONV} {LAST} }}"
    (free,) = predict(from_text(body, 20, **WEIGHTS))
    (inner,) = predict(model_of("a = Relu(n) z = Conv(a, w, b)"))
    np.testing.assert_allclose(free.predicted, inner.predicted, rtol=1e-6)


@given(st.floats(-5, 5), st.floats(0, 3))
def test_relu_is_the_closed_form(beta: float, gamma: float) -> None:
    law = through(Pointwise("relu"), Law(np.array([beta]), 1, beta + gamma * normal_points()[None], "n"))
    normal = NormalDist()
    exact = gamma * normal.pdf(beta / gamma) + beta * normal.cdf(beta / gamma) if gamma > 1e-6 else max(beta, 0.0)
    assert law is not None
    assert law.mean[0] == pytest.approx(exact, abs=0.005 * gamma + 1e-6)


def with_arrays(**arrays: NDArray[np.generic]) -> tuple[Predicted, ...]:
    return predict(model_of(f"a = Relu(n) {CONV}", **arrays))


def test_dead_channels_are_left_out() -> None:
    (found,) = with_arrays(var=np.array([1, 1e-7, 1, 0], np.float32))
    assert len(found.s) == len(found.stored) == 2
    assert with_arrays(var=np.zeros(4, np.float32)) == ()


def test_statistics_never_updated_are_neither_judged_nor_believed() -> None:
    new = {"mean": np.zeros(4, np.float32), "var": np.ones(4, np.float32)}
    assert with_arrays(**new) == ()
    assert with_arrays(mean4=new["mean"], var4=new["var"]) == ()
    assert len(with_arrays(mean=new["mean"])) == 1


def test_numbers_that_are_none_are_not_compared() -> None:
    broken = WEIGHTS["w"].copy()
    broken[0, 0, 0, 0] = np.nan
    assert with_arrays(w=broken) == ()
    assert with_arrays(mean=np.full(4, np.inf, np.float32)) == ()


def test_a_layer_used_twice_is_a_mixture() -> None:
    twice = "a = Relu(n) z = Conv <pads=[1,1,1,1]> (a, w) t = BatchNormalization (z, gamma, beta, mean, var) "
    again = "u = Conv <pads=[1,1,1,1]> (n, w) v = BatchNormalization (u, gamma, beta, mean, var) y = Add(t, v)"
    text = f"g (float[N,4,6,7] x) => (float[N,4,6,7] y) {{ {FIRST} {twice} {again} }}"
    own = {"gamma": np.array([1, 2, 1, 2], np.float32), "beta": np.array([0, 1, 2, 1], np.float32)}
    assert predict(from_text(text, 20, **WEIGHTS, **own)) == ()


def test_weights_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    model = model_of(f"a = Relu(n) {CONV}")
    big = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    big.data_location = onnx.TensorProto.EXTERNAL
    big.external_data.add(key="location", value="gone.bin")
    big.ClearField("raw_data"), big.ClearField("float_data")
    assert predict(model) == ()


@pytest.mark.exports
def test_resnet20_predicts_its_own_statistics(real: Callable[[str], Path], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from tests.nets.exported import onnx_file
    from tests.nets.resnet20 import load_resnet20

    net = load_resnet20(real("akamaster/resnet20-12fca82f.th"))
    path = onnx_file(net, torch.zeros(2, 3, 32, 32), tmp_path / "net.onnx")
    found = {each.layer: each for each in predict(onnx.load(path))}
    assert len(found) == 18  # all but the first
    assert max(each.rms for each in found.values()) < 0.15
    assert min(each.zero for each in found.values()) > 0.3
    assert max(each.relative for each in found.values()) < 0.35


def test_a_face_detector_predicts_its_own_statistics(real: Callable[[str], Path]) -> None:
    found = predict(onnx.load(real("ultraface/version-slim-320.onnx")))
    assert len(found) == 24
    assert np.median([each.rms for each in found]) < 0.1
    assert max(each.relative for each in found) < 0.45
