"""What fits a dtype and what does not, against the numbers that would be written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normdiag.folding.checks import Peaks, largest_weights, misfit
from normdiag.folding.floats import as_dtype, limits
from normdiag.folding.weights import new_parameters
from normdiag.records import Affine, Constant, Conv, LayerEdit, Norm, Op
from tests.nets.op_graph import GraphNet, parameter


def norm_op(gamma: float, dtype: str) -> Op:
    net = GraphNet(4, 3)
    net.norm(net.x, gamma=gamma, beta=1.0)
    detail = net.ops[-1].detail
    assert isinstance(detail, Norm)
    values = np.full(4, gamma).astype(dtype)
    return replace(net.ops[-1], detail=replace(detail, gamma=parameter("g", values), beta=parameter("b", values)))


def scaled(factor: float, shift: float = 0.0) -> LayerEdit:
    return LayerEdit(outer=Affine(np.full((1, 4, 1), factor), np.full((1, 4, 1), shift)))


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (scaled(1e6), "the gamma would overflow float16 in 4 channels"),
        (scaled(1.0, 1e6), "the beta would overflow float16 in 4 channels"),
        (scaled(1e-7), "the gamma would be too small for float16 in 4 channels"),
        (scaled(2.0), None),
    ],
)
def test_norms_that_take_something_up(edit: LayerEdit, reason: str | None) -> None:
    found = misfit(norm_op(1.0, "float16"), edit, "float16", Peaks())
    assert found is None if reason is None else (found or "").startswith(reason)


def test_constants_and_plain_scales() -> None:
    net = GraphNet(4, 3)
    net.constant(1, 4, 3, name="c")
    value = parameter("v", np.ones((1, 4, 3), np.float16))
    constant = replace(net.ops[-1], detail=Constant(value))
    assert misfit(constant, scaled(1e6), "float16", Peaks()) == "the value would overflow float16 in 12 channels of 'c'"
    assert misfit(constant, scaled(2), "float16", Peaks()) is None
    net.scale_shift(net.x, scale=np.ones(4), name="m")
    why = misfit(net.ops[-1], scaled(1e6), "float16", Peaks())
    assert why == "the scale would overflow float16 in 4 channels of 'm'"
    assert misfit(net.ops[-1], scaled(1e6), "float32", Peaks()) is None


@settings(max_examples=300)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["float16", "bfloat16", "float32"]), st.booleans(), st.booleans())
def test_the_check_agrees_with_the_numbers_that_are_written(
    seed: int, dtype: str, ahead: bool, transposed: bool
) -> None:
    """Overflow is said where there is one; without it and loss, weights are off by 4 steps of their channel at most."""
    random = np.random.default_rng(seed)
    weight = (random.normal(size=(6, 3, 3)) * 10.0 ** random.uniform(-4, 2)).astype(as_dtype(dtype))
    op = Op("c", "conv", "Conv", ("x",), ("y",), Conv(parameter("w", weight), None, 2 if transposed else 1, transposed))
    channels = 6 if transposed is ahead else 3 if ahead else 6
    side = Affine(10.0 ** random.uniform(-9, 5, (1, channels, 1)), np.zeros((1, 1, 1)))
    edit = LayerEdit(inner=side) if ahead else LayerEdit(outer=side)
    exact = expected(weight.astype(np.float64), edit, transposed)
    written = new_parameters(op, edit).weight.astype(np.float64)
    why = misfit(op, edit, dtype, Peaks())
    assert ("overflow" in (why or "")) is not np.isfinite(written).all()
    if why is None:
        largest = per_scale(np.abs(exact), ahead, transposed)
        counts = np.broadcast_to(largest > limits(dtype).eps ** 2 * largest.max(), exact.shape)
        assert (np.abs(written - exact) <= 4 * limits(dtype).eps * largest)[counts].all()


def per_scale(weight: Any, ahead: bool, transposed: bool) -> Any:
    """The largest of all weights that share a scale, broadcast over (out, in, kernel), transposed (in, out, kernel)."""
    if transposed and not ahead:
        return np.repeat(weight.reshape(2, 3, 3, 3).max((1, 3), keepdims=True), 3, 1).reshape(6, 3, 1)
    return weight.max((1, 2) if transposed is ahead else (0, 2), keepdims=True)


def expected(weight: Any, edit: LayerEdit, transposed: bool) -> Any:
    """W' by hand, for one group, or two of a transposed convolution (in, out / 2, kernel)."""
    if edit.inner:
        values = edit.inner.scale.ravel()
        return weight * (values.reshape(-1, 1, 1) if transposed else values.reshape(1, -1, 1))
    assert edit.outer
    values = edit.outer.scale.ravel()
    if not transposed:
        return weight * values.reshape(-1, 1, 1)
    return weight * np.repeat(values.reshape(2, 3), 3, 0).reshape(6, 3, 1)


@settings(max_examples=100)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 3]),
    st.booleans(),
    st.sampled_from(["inner", "outer", "both", ""]),
)
def test_largest_weights_are_those_of_the_new_parameters(seed: int, groups: int, transposed: bool, sides: str) -> None:
    random = np.random.default_rng(seed)
    net = GraphNet(6, 4, seed=seed)
    net.conv(net.x, 12, groups=groups, transposed=transposed)
    inner, outer = (Affine(random.normal(size=(1, c, 1)), np.zeros((1, 1, 1))) for c in (6, 12))
    edit = LayerEdit(inner if sides in ("inner", "both") else None, outer if sides in ("outer", "both") else None)
    detail = net.ops[-1].detail
    assert isinstance(detail, Conv)
    weight = np.abs(new_parameters(net.ops[-1], edit).weight)
    if transposed:
        per_group = weight.reshape(groups, 6 // groups, 12 // groups, 3).max((1, 3)).ravel()
        np.testing.assert_allclose(largest_weights(detail, edit, Peaks()), per_group)
    else:
        np.testing.assert_allclose(largest_weights(detail, edit, Peaks()), weight.max((1, 2)))
