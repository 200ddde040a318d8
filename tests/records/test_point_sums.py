"""Sums of a point: the same about any shift, in any parts, however the samples were split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.records import PointSums, Span
from normdiag.records.profile import MOST_CHANNELS


def sums_of(x: np.ndarray, shift: np.ndarray, first: int = 0) -> PointSums:
    """Of samples (N, C, P) about a shift (C,), from their definition."""
    moved = x - shift[:, None]
    return PointSums.of(moved.mean(2), (moved**2).mean(2), shift, Span(first, len(x)))


def same(one: PointSums, two: PointSums) -> None:
    np.testing.assert_array_equal(one.counts, two.counts)
    np.testing.assert_allclose(one.first, two.first, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(one.second, two.second, rtol=1e-9, atol=1e-8)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 4))
def test_about_another_shift_is_as_if_measured_about_it(seed: int, samples: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(rng.normal(), 1, (samples, channels, 3))
    one, two = rng.normal(0, 2, (2, channels))
    same(sums_of(x, one).about(two), sums_of(x, two))


@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_two_halves_about_different_shifts_are_the_whole(seed: int, samples: int) -> None:
    rng = np.random.default_rng(seed)
    x, (one, two) = rng.normal(0, 1, (samples, 2, 3)), rng.normal(0, 2, (2, 2))
    cut = int(rng.integers(1, samples))
    same(sums_of(x[:cut], one) + sums_of(x[cut:], two, cut), sums_of(x, one))


def test_a_factor_is_as_if_the_values_had_it() -> None:
    x, shift, factor = np.random.default_rng(0).normal(0, 1, (9, 2, 3)), np.array([0.5, -1.0]), np.array([2.0, -0.3])
    scaled = sums_of(x, shift).scaled(factor)
    same(scaled, sums_of(x * factor[:, None], shift * factor))
    np.testing.assert_allclose(scaled.shift, shift * factor)


def test_fewer_groups_hold_the_same_samples() -> None:
    x = np.random.default_rng(0).normal(0, 1, (37, 2, 3))
    whole = sums_of(x, np.zeros(2))
    few = whole.grouped(4)
    np.testing.assert_array_equal(few.counts[:4], [10, 9, 9, 9])
    assert not few.counts[4:].any() and not few.first[:, 4:].any()
    for part in range(4):
        np.testing.assert_allclose(few.first[0, part], x[part::4].mean(2).sum(0))
    np.testing.assert_array_equal(few.second, whole.second)


def test_rows_of_one_sample_count_as_one() -> None:
    x = np.random.default_rng(0).normal(0, 1, (5, 4, 3))  # samples, rows of each, channels
    rows = x.reshape(20, 3)
    found = PointSums.of(rows, rows**2, np.zeros(3), Span(0, 5))
    same(found, sums_of(np.moveaxis(x, 1, 2), np.zeros(3)))


def test_a_varying_number_of_channels_leaves_nothing_whatever_comes_after() -> None:
    three, two = (sums_of(np.ones((4, channels, 1)), np.zeros(channels)) for channels in (3, 2))
    for found in (three + two, three + two + three, three + (two + three)):
        assert found.channels == 0


def test_a_point_of_too_many_channels_is_kept_as_one() -> None:
    x = np.random.default_rng(0).normal(3, 2, (4, MOST_CHANNELS + 1, 1))
    found = sums_of(x, np.linspace(0, 1, MOST_CHANNELS + 1))
    assert found.channels == 1
    flat = x.reshape(4, 1, -1)
    same(found, sums_of(flat, found.shift))
    assert found.shift[0] == pytest.approx(0.5)
