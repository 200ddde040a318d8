"""Sums over positions: any shape, layout, precision and tile size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from normdiag.observe.pytorch import reductions
from normdiag.observe.pytorch.activations import activation_sums
from normdiag.observe.pytorch.reductions import abs_max, channel_table, row_moments
from normdiag.observe.sampled import BUDGET, saturated_mask
from normdiag.ops import SATURATION_THRESHOLD, Activation, derivative, tails
from tests.observe.looking import errors
from tests.observe.pytorch.helpers import check_activation

RANDOM = np.random.default_rng(0)
LAYOUTS = ("planar", "inner", "slice of planar", "slice of inner", "every second position")


def laid_out(values: np.ndarray, layout: str) -> Tensor:
    x = torch.from_numpy(values)
    if layout == "planar":
        return x
    if layout == "inner":
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    if layout == "every second position":
        return x.repeat_interleave(2, -1)[..., ::2]
    wider = torch.cat([x, x], 1)
    if layout == "slice of inner":
        wider = wider.movedim(1, -1).contiguous().movedim(-1, 1)
    return wider[:, : x.shape[1]]


shapes = st.lists(st.integers(1, 7), min_size=2, max_size=5).map(tuple)


@given(
    shapes,
    st.sampled_from(LAYOUTS),
    st.integers(64, 4096),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 9),
)
def test_tables_of_any_tensor(shape: tuple[int, ...], layout: str, tile: int, dtype: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    offset = rng.choice([0.0, 1.0, 300.0], shape[1])
    values = (rng.normal(size=shape) + offset.reshape(-1, *[1] * (len(shape) - 2))).astype(dtype)
    x = laid_out(values, "planar" if len(shape) == 2 else layout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reductions, "TILE", tile)
        table = channel_table(x)
    flat = values.reshape(shape[0], shape[1], -1).astype(np.float64)
    mean, var = table.sample_moments()
    np.testing.assert_allclose(mean, flat.mean(2), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(var, flat.var(2), rtol=1e-4, atol=1e-5)
    mean, var = table.moments()
    np.testing.assert_allclose(mean, flat.mean((0, 2)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(var, flat.var((0, 2)), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("layout", ["planar", "inner"])
@pytest.mark.parametrize("positions", [(1021, 31), (640, 512)])  # a number without divisors, and one with many
def test_positions_that_do_not_fit_one_tile(layout: str, positions: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(size=(2, 12, *positions)).astype(np.float32)
    x = laid_out(values, layout)
    mean, var = channel_table(x).sample_moments()
    np.testing.assert_allclose(mean, values.mean((2, 3), dtype=np.float64), atol=1e-7)
    np.testing.assert_allclose(var, values.astype(np.float64).var((2, 3)), rtol=1e-6)
    sums, _ = activation_sums(Activation("relu"), x, 1, 0.07, RANDOM)
    np.testing.assert_array_equal(sums.saturated, (values <= 0).sum((0, 2, 3)))


@given(shapes, st.sampled_from(LAYOUTS), st.booleans(), st.integers(64, 4096))
def test_an_activation_in_place_is_counted_and_run(shape: tuple[int, ...], layout: str, last: bool, tile: int) -> None:
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32) * 4
    x = laid_out(values, "planar" if len(shape) == 2 else layout)
    axis = -1 if last and len(shape) > 2 else 1
    activation = Activation("relu6", low=0.0, high=6.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reductions, "TILE", tile)
        sums, done = activation_sums(activation, x, axis, 0.07, RANDOM, lambda part: part.clamp_(0, 6))
    check_activation(sums, activation, values, axis)
    np.testing.assert_array_equal(x.numpy(), values.clip(0, 6) if done else values)


def test_running_in_place_is_possible_in_both_layouts() -> None:
    for layout in ("planar", "inner"):
        x = laid_out(np.ones((2, 3, 4, 4), np.float32), layout)
        assert activation_sums(Activation("relu"), x, 1, 0.07, RANDOM, torch.relu_)[1]


def test_rows_of_large_mean() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 64)) * 1e-3 + np.array([0.0, 1.0, 50.0, -3.0, 1e-9])[:, None]
    mean, var = row_moments(torch.from_numpy(rows.astype(np.float32)))
    exact = rows.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(1), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(var, exact.var(1), rtol=1e-5)


def test_abs_max_keeps_nan_and_infinity() -> None:
    assert abs_max(torch.tensor([1.0, -3.0])) == 3.0
    assert abs_max(torch.tensor([1.0, -float("inf")])) == float("inf")
    assert np.isnan(abs_max(torch.tensor([1.0, float("nan")])))


def test_values_that_are_not_finite_spoil_their_channel_alone() -> None:
    x = torch.ones(2, 3, 4, 4)
    x[0, 1, 0, 0] = float("nan")
    x[1, 2, 0, 0] = float("inf")
    mean, _ = channel_table(x).moments()
    assert mean[0] == 1.0
    assert np.isnan(mean[1])
    assert not np.isfinite(mean[2])


@pytest.mark.parametrize("layout", ["planar", "inner", "slice of planar"])
@pytest.mark.parametrize("activation", [Activation("silu"), Activation("sigmoid"), Activation("hard_swish")])
def test_a_share_of_many_values(activation: Activation, layout: str) -> None:
    """Estimates within four standard errors; dead units exactly, one with a single value that a share does not see."""
    values = np.random.default_rng(1).normal(-1, 4, (6, 10, 40, 30)).astype(np.float32)
    values[:, 2] = values[:, 5] = -9.0
    values[3, 5, 17, 11] = 1.0
    sums, _ = activation_sums(activation, laid_out(values, layout), 1, SATURATION_THRESHOLD, RANDOM)
    mask, square = saturated_mask(values, tails(activation)), (derivative(activation, values) ** 2).sum()
    np.testing.assert_array_equal(sums.dead, mask.all((0, 2, 3)))
    assert sums.sampled is not None
    assert 0.5 * BUDGET < sums.sampled.values < 1.5 * BUDGET
    assert abs(sums.derivative_square - square) < 4 * errors(sums)[1] < 0.2 * square
    if activation.kind == "hard_swish":
        np.testing.assert_array_equal(sums.saturated, mask.sum((0, 2, 3)))
    else:
        assert abs(sums.saturated.sum() - mask.sum()) < 4 * errors(sums)[0] < 0.1 * mask.size
