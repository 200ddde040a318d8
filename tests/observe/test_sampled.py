"""A share of the values in place of all: which, and how far off the sums may be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.observe.sampled import BUDGET, FEWEST, choose, sampled_sums, saturated_mask, wanted
from normdiag.ops import Activation, Tails, derivative, tails
from normdiag.records import ActivationSums

SILU = Activation("silu")


@given(st.integers(0, 5000), st.integers(1, 5000), st.integers(0, 9))
def test_places_are_one_from_each_stretch(places: int, count: int, seed: int) -> None:
    chosen = choose(places, count, np.random.default_rng(seed))
    assert len(chosen) == min(places, count)
    assert (np.diff(chosen) >= 0).all()
    if len(chosen):
        assert chosen[0] >= 0 and chosen[-1] < places
        stretches = (np.arange(len(chosen)) + 1) * (places / len(chosen))
        assert (chosen < np.ceil(stretches)).all()


def test_every_place_is_equally_likely() -> None:
    random = np.random.default_rng(0)
    counts = sum(np.bincount(choose(7, 5, random), minlength=7) for _ in range(20_000))
    np.testing.assert_allclose(counts / 20_000, 5 / 7, atol=0.02)


@given(st.integers(1, 10**7), st.integers(1, 2048))
def test_small_tensors_are_looked_at_whole(places: int, units: int) -> None:
    count = wanted(places, places * units)
    assert count == places if places * units <= BUDGET else min(places, FEWEST) <= count < places or places <= FEWEST


def picked(values: np.ndarray, seed: int, counted: np.ndarray | None = None) -> ActivationSums:
    places = len(values)
    chosen = choose(places, wanted(places, values.size), np.random.default_rng(seed))
    return sampled_sums(SILU, values[chosen], places, tails(SILU), counted)


def test_the_error_is_the_scatter_of_repeated_draws() -> None:
    """Over 400 draws of places from one tensor of which neighbours are alike: mean, scatter and coverage."""
    random = np.random.default_rng(0)
    patches = random.normal(-3, 2, (600, 1, 1)).repeat(10, 0)
    values = (patches + random.normal(0, 2, (6000, 1, 24))).astype(np.float32)
    exact = (derivative(SILU, values) ** 2).sum(), saturated_mask(values, tails(SILU)).sum()
    draws = [picked(values, seed) for seed in range(400)]
    for truth, found, variances in (
        (exact[0], [d.derivative_square for d in draws], [d.sampled.square_variance for d in draws]),
        (exact[1], [d.saturated.sum() for d in draws], [d.sampled.saturated_variance for d in draws]),
    ):
        errors = np.sqrt(variances)
        assert np.mean(found) == pytest.approx(truth, abs=4 * np.std(found) / 20)
        # Stretches keep neighbours apart, so that the scatter is smaller than that of places drawn freely.
        assert 0.5 * np.median(errors) < np.std(found) < 1.1 * np.median(errors)
        assert np.mean(np.abs(np.array(found) - truth) < 2 * errors) > 0.94


def test_what_is_looked_at_whole_has_no_error() -> None:
    values = np.random.default_rng(0).normal(0, 4, (50, 3, 7))
    sums = picked(values, 0)
    assert sums.sampled is None
    assert sums.derivative_square == pytest.approx((derivative(SILU, values) ** 2).sum())
    np.testing.assert_array_equal(sums.saturated, (values < tails(SILU).lower).sum((0, 1)))


def test_counted_values_stay_counted() -> None:
    values = np.random.default_rng(0).normal(0, 4, (9000, 1, 7))
    counted = (values <= -3).sum((0, 1))
    sums = sampled_sums(Activation("hard_swish"), values[::9], 9000, Tails(lower=-3.0, closed=True), counted)
    np.testing.assert_array_equal(sums.saturated, counted)
    assert sums.sampled is not None
    assert sums.sampled.saturated_variance == 0.0 < sums.sampled.square_variance


def test_sums_of_a_share_and_of_all_values_add_up() -> None:
    random = np.random.default_rng(0)
    large, small = random.normal(-4, 4, (9000, 1, 7)), random.normal(-4, 4, (20, 1, 7))
    both = picked(large, 0) + picked(small, 0)
    assert both.elements == 9020
    assert both.sampled is not None
    assert both.sampled.of == 9020 * 7
    assert both.sampled.values == small.size + wanted(9000, large.size) * 7
    assert both.sampled.square_variance == picked(large, 0).sampled.square_variance
    assert not both.dead.any()


def test_a_unit_is_dead_where_it_is_in_all_that_was_seen() -> None:
    share = ActivationSums("silu", 4, np.array([4.0, 4.0]), 0.0, responsive=np.array([True, False]))
    whole = ActivationSums("silu", 2, np.array([2, 2]), 0.0)
    np.testing.assert_array_equal((share + whole).dead, [False, True])
    alive = ActivationSums("silu", 2, np.array([2, 1]), 0.0)
    np.testing.assert_array_equal((share + alive).dead, [False, False])
    np.testing.assert_array_equal((share + whole).pooled().dead, [False])
