"""Counts and derivatives of activations against the formulas of normdiag.ops on whole tensors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from normdiag.graph import open_model
from normdiag.observe.onnx import OnnxRunner
from normdiag.observe.sampled import BUDGET
from normdiag.ops import SATURATION_THRESHOLD, Activation, derivative, tails
from normdiag.ops.selu import ALPHA as SELU_ALPHA
from normdiag.ops.selu import SCALE as SELU_SCALE
from normdiag.records import ActivationSums, Batch
from tests.nets.onnx.nodes import write
from tests.observe.looking import errors
from tests.observe.onnx.helpers import runner

X = np.random.default_rng(0).normal(0, 4, (5, 4, 9, 11)).astype(np.float32)
X[0, 0, 0, :11] = [-6, -4, -3, -2, -0.0, 0, 1, 2, 3, 4, 6]  # the corners and edges themselves

NAMED: list[tuple[str, Activation, dict[str, Any]]] = [
    ("Relu", Activation("relu"), {}),
    ("Sigmoid", Activation("sigmoid"), {}),
    ("Tanh", Activation("tanh"), {}),
    ("LeakyRelu", Activation("leaky_relu", 0.01), {"alpha": 0.01}),
    ("LeakyRelu", Activation("leaky_relu", 0.2), {"alpha": 0.2}),
    ("Elu", Activation("elu", 1.0), {}),
    ("Elu", Activation("elu", 0.5), {"alpha": 0.5}),
    ("Selu", Activation("selu", SELU_ALPHA, SELU_SCALE), {}),
    ("HardSigmoid", Activation("hard_sigmoid", 0.2, 0.5), {}),
    ("HardSigmoid", Activation("hard_sigmoid", 0.125, 0.5), {"alpha": 0.125}),
    ("Softplus", Activation("softplus"), {}),
]
NEWER: list[tuple[str, Activation, dict[str, Any]]] = [
    ("HardSwish", Activation("hard_swish"), {}),
    ("Mish", Activation("mish"), {}),
    ("Gelu", Activation("gelu"), {}),
    ("Gelu", Activation("gelu_tanh"), {"approximate": "tanh"}),
]


def saturated(activation: Activation, x: np.ndarray, threshold: float = SATURATION_THRESHOLD) -> np.ndarray:
    bounds = tails(activation, threshold)
    lower, upper = np.float32(bounds.lower), np.float32(bounds.upper)
    return (x <= lower) | (x >= upper) if bounds.closed else (x < lower) | (x > upper)


def observe(path: Path, x: np.ndarray, **options: float) -> Any:
    (sums,) = runner(path, **options).observe(Batch((x,))).activations.values()
    return sums


def check(path: Path, activation: Activation, x: np.ndarray = X, axis: int = 1, rtol: float = 2e-6) -> None:
    sums = observe(path, x)
    others = tuple(a for a in range(x.ndim) if a != axis % x.ndim)
    assert sums.kind == activation.kind
    assert sums.elements == x.size // x.shape[axis]
    np.testing.assert_array_equal(sums.saturated, saturated(activation, x).sum(others))
    assert sums.derivative_square == pytest.approx((derivative(activation, x) ** 2).sum(), rel=rtol)


def one(folder: Path, op: str, attributes: dict[str, Any], opset: int, dtype: str = "float32") -> Path:
    nodes = [helper.make_node(op, ["x"], ["y"], name="f", **attributes)]
    return write(folder, nodes, {"x": ["n", 4, 9, 11]}, ["y"], {}, opset=opset, dtype=dtype)


@pytest.mark.parametrize("opset", [7, 13, 22])
@pytest.mark.parametrize(("op", "activation", "attributes"), NAMED, ids=str)
def test_old_operators(op: str, activation: Activation, attributes: dict[str, Any], opset: int, tmp_path: Path) -> None:
    check(one(tmp_path, op, attributes, opset), activation)


@pytest.mark.parametrize(("op", "activation", "attributes"), NEWER, ids=str)
def test_newer_operators(op: str, activation: Activation, attributes: dict[str, Any], tmp_path: Path) -> None:
    check(one(tmp_path, op, attributes, 20), activation)


@pytest.mark.parametrize("opset", [7, 17])
@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 1.0), (0.0, 20.0)])
def test_clip_of_both_forms(low: float, high: float, opset: int, tmp_path: Path) -> None:
    kind = "relu6" if (low, high) == (0.0, 6.0) else "clip"
    weights = {} if opset < 11 else {"low": np.float32(low), "high": np.float32(high)}
    attributes = {"min": low, "max": high} if opset < 11 else {}
    nodes = [helper.make_node("Clip", ["x", *weights], ["y"], **attributes)]
    path = write(tmp_path, nodes, {"x": ["n", 4, 9, 11]}, ["y"], weights, opset=opset)
    check(path, Activation(kind, low=low, high=high))


@pytest.mark.parametrize("alpha", [1.0, 1.702])
def test_silu_of_two_nodes(alpha: float, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "alpha"], ["ax"]),
        helper.make_node("Sigmoid", ["ax"], ["s"]),
        helper.make_node("Mul", ["x", "s"], ["y"]),
    ]
    nodes = nodes if alpha != 1.0 else [helper.make_node("Sigmoid", ["x"], ["s"]), nodes[2]]
    weights = {"alpha": np.float32(alpha)} if alpha != 1.0 else {}
    path = write(tmp_path, nodes, {"x": ["n", 4, 9, 11]}, ["y"], weights)
    sums = observe(path, X)
    scaled = (X * np.float32(alpha)).astype(np.float32)
    np.testing.assert_array_equal(sums.saturated, saturated(Activation("silu"), scaled).sum((0, 2, 3)))
    expected = (derivative(Activation("silu"), scaled) ** 2).sum()
    assert sums.derivative_square == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float16", 2e-3)])
@pytest.mark.parametrize(
    ("op", "activation"),
    [("Relu", Activation("relu")), ("Sigmoid", Activation("sigmoid")), ("Tanh", Activation("tanh"))],
)
def test_other_types(op: str, activation: Activation, dtype: str, rtol: float, tmp_path: Path) -> None:
    check(one(tmp_path, op, {}, 17, dtype), activation, X.astype(dtype), rtol=rtol)


def test_units_of_a_linear_layer_are_the_last_axis(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(3, 7, 5)).astype(np.float32), rng.normal(size=(5, 6)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    path = write(tmp_path, nodes, {"x": ["n", "t", 5]}, ["y"], {"w": weight})
    sums = observe(path, x)
    np.testing.assert_array_equal(sums.saturated, (x @ weight <= 0).sum((0, 1)))
    assert sums.elements == 21


def test_units_of_a_table_are_its_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(9, 5)).astype(np.float32), rng.normal(size=(5, 6)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Tanh", ["a"], ["y"])]
    sums = observe(write(tmp_path, nodes, {"x": ["n", 5]}, ["y"], {"w": weight}), x)
    np.testing.assert_array_equal(sums.saturated, (np.abs(x @ weight) > 2).sum(0))
    assert sums.elements == 9


def test_the_threshold_moves_the_tails(tmp_path: Path) -> None:
    sums = observe(one(tmp_path, "Tanh", {}, 17), X, threshold=0.5)
    np.testing.assert_array_equal(sums.saturated, saturated(Activation("tanh"), X, 0.5).sum((0, 2, 3)))


def test_an_input_with_several_readers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="relu"),
        helper.make_node("Sigmoid", ["x"], ["b"], name="sigmoid"),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Add", ["c", "x"], ["y"]),
    ]
    path = write(tmp_path, nodes, {"x": ["n", 4, 9, 11]}, ["y", "a"], {})
    found = runner(path).observe(Batch((X,))).activations
    np.testing.assert_array_equal(found["relu"].saturated, (X <= 0).sum((0, 2, 3)))
    np.testing.assert_array_equal(found["sigmoid"].saturated, (np.abs(X) > 4).sum((0, 2, 3)))


def test_counts_are_exact_where_float32_stops_counting(tmp_path: Path) -> None:
    x = np.ones((1, 1, 4097, 4097), np.float32)
    path = write(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], {"x": ["n", 1, "h", "w"]}, ["y"], {})
    x[0, 0, 0, :3] = -1
    assert observe(path, x).saturated.tolist() == [3]


@pytest.mark.parametrize(
    ("op", "activation", "attributes"),
    [
        ("Selu", Activation("selu", 2.0, 1.5), {"alpha": 2.0, "gamma": 1.5}),
        ("HardSigmoid", Activation("hard_sigmoid", 0.25, 0.25), {"alpha": 0.25, "beta": 0.25}),
    ],
)
def test_constants_of_its_own(op: str, activation: Activation, attributes: dict[str, Any], tmp_path: Path) -> None:
    check(one(tmp_path, op, attributes, 17), activation)


def test_a_rank_that_nobody_states(tmp_path: Path) -> None:
    path = one(tmp_path, "Relu", {}, 17)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(model, path)
    check(path, Activation("relu"))


LARGE = np.random.default_rng(1).normal(-1, 4, (6, 10, 40, 30)).astype(np.float32)
LARGE[:, 2] = -9.0  # dead for good
LARGE[:, 5] = -9.0  # alive for a single value, which a share of them does not see
LARGE[3, 5, 17, 11] = 1.0


def check_share(sums: ActivationSums, activation: Activation, x: np.ndarray, axis: int = 1) -> None:
    """Estimates within four standard errors, dead units exactly."""
    others = tuple(a for a in range(x.ndim) if a != axis % x.ndim)
    mask, square = saturated(activation, x), (derivative(activation, x) ** 2).sum()
    np.testing.assert_array_equal(sums.dead, mask.all(others))
    assert sums.elements == x.size // x.shape[axis]
    assert sums.sampled is not None
    assert sums.sampled.of == x.size
    assert 0.1 * BUDGET < sums.sampled.values < 1.5 * BUDGET
    assert abs(sums.derivative_square - square) < 4 * errors(sums)[1] < 0.2 * square
    if tails(activation).closed:
        np.testing.assert_array_equal(sums.saturated, mask.sum(others))
        assert sums.sampled.saturated_variance == 0.0
    else:
        assert abs(sums.saturated.sum() - mask.sum()) < 4 * errors(sums)[0] < 0.1 * x.size


@pytest.mark.parametrize("opset", [7, 11, 20])
@pytest.mark.parametrize(
    ("op", "activation"),
    [
        ("Sigmoid", Activation("sigmoid")),
        ("Tanh", Activation("tanh")),
        ("Elu", Activation("elu")),
        ("Gelu", Activation("gelu")),
        ("HardSwish", Activation("hard_swish")),
    ],
)
def test_a_share_of_many_values(op: str, activation: Activation, opset: int, tmp_path: Path) -> None:
    if op in ("Gelu", "HardSwish") and opset < 20:
        pytest.skip("younger than this operator set")
    nodes = [helper.make_node(op, ["x"], ["y"], name="f")]
    path = write(tmp_path, nodes, {"x": ["n", 10, "h", "w"]}, ["y"], {}, opset=opset)
    check_share(observe(path, LARGE), activation, LARGE)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_a_share_of_units_on_any_axis(axis: int, dtype: str, tmp_path: Path) -> None:
    x = np.moveaxis(LARGE.reshape(6, 10, 1200), 1, axis).astype(dtype)
    nodes = [helper.make_node("Sigmoid", ["x"], ["y"], name="f")]
    path = write(tmp_path, nodes, {"x": ["n", "a", "b"]}, ["y"], {}, dtype=dtype)
    model = open_model(path)
    (site,) = model.program.activations
    program = replace(model.program, activations=(replace(site, unit_axis=axis, rank=3),))
    (sums,) = OnnxRunner(replace(model, program=program)).observe(Batch((x,))).activations.values()
    check_share(sums, Activation("sigmoid"), x, axis)


def test_a_share_of_a_table_and_of_batches(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(0, 3, (3000, 40)).astype(np.float32)
    path = write(tmp_path, [helper.make_node("Tanh", ["x"], ["y"])], {"x": ["n", 40]}, ["y"], {})
    run = runner(path)
    parts = [run.observe(Batch((part,))).activations.popitem()[1] for part in np.split(x, 3)]
    assert len({part.derivative_square for part in parts}) == 3
    whole = parts[0] + parts[1] + parts[2]
    square = (derivative(Activation("tanh"), x) ** 2).sum()
    assert abs(whole.derivative_square - square) < 4 * errors(whole)[1] < 0.1 * square
    again = runner(path).observe(Batch((x[:1000],))).activations.popitem()[1]
    assert again.derivative_square == parts[0].derivative_square  # a fixed seed


def test_values_that_are_no_numbers_count_as_inactive(tmp_path: Path) -> None:
    x = X.copy()
    x[1, 2, 3, 4], x[0, 1, 2, 3], x[0, 0, 1, 1] = np.nan, np.inf, -np.inf
    sums = observe(one(tmp_path, "Relu", {}, 17), x)
    expected = (~(x > 0)).sum((0, 2, 3))
    np.testing.assert_array_equal(np.delete(sums.saturated, 2), np.delete(expected, 2))
    assert sums.saturated[2] >= expected[2]
