"""A share of the values in place of all: which, and how far off the sums may be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.metrics import measure_activations
from normdiag.observe.sampled import BUDGET, FEWEST, choose, parts_of, sampled_sums, saturated_mask, wanted
from normdiag.ops import Activation, Tails, derivative, tails
from normdiag.records import ActivationSums, Span

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


def picked(values: np.ndarray, seed: int) -> ActivationSums:
    places, samples = values.shape[:2]
    chosen = choose(places, wanted(places, values.size), np.random.default_rng(seed))
    parts = parts_of(chosen, places, samples, Span(0, samples if samples > 1 else 16))
    return sampled_sums(SILU, values[chosen], places, tails(SILU), parts)


@pytest.mark.parametrize("samples", [1, 24])
def test_the_error_is_the_scatter_of_repeated_draws(samples: int) -> None:
    """Over 400 draws of samples and places, of samples in a row or side by side: mean, scatter and coverage."""
    random = np.random.default_rng(0)
    rows = 48 // samples * samples
    edges = random.normal(0, 1.5, (500, 1, 1))  # a place has something of its own, in all samples
    means = random.normal(-3, 1, 4000)
    truth, draws = [], []
    for seed in range(400):
        brought = random.choice(means, rows)[:, None, None, None] + edges + random.normal(0, 1, (rows, 500, 1, 20))
        if samples == 1:
            draws.append(picked(brought.reshape(-1, 1, 20), seed))
        else:
            draws.append(sum_of([picked(each.swapaxes(0, 1)[:, :, 0], seed + 1000 * i) for i, each in parted(brought)]))
        truth.append(saturated_mask(brought, tails(SILU)).mean())
    rows_seen = measure_activations({str(index): each for index, each in enumerate(draws)})
    found = np.array([each.saturated_fraction for each in rows_seen])
    errors = np.array([each.saturated_se for each in rows_seen])
    assert found.mean() == pytest.approx(np.mean(truth), abs=4 * found.std() / 20)
    assert 0.8 < np.mean(errors) / found.std() < 1.3
    # 93.6 % with 16 parts that are normal, less or more by the chance of 400 draws
    assert 0.91 <= np.mean(np.abs(found - np.mean(truth)) < 2 * errors) <= 0.99


def parted(x: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Batches of 24."""
    return list(enumerate(np.split(x, len(x) // 24)))


def sum_of(parts: list[ActivationSums]) -> ActivationSums:
    return sum(parts[1:], parts[0])


def test_what_is_looked_at_whole_has_no_error() -> None:
    values = np.random.default_rng(0).normal(0, 4, (50, 3, 7))
    sums = picked(values, 0)
    assert sums.sampled is None
    assert sums.derivative_square == pytest.approx((derivative(SILU, values) ** 2).sum())
    np.testing.assert_array_equal(sums.saturated, (values < tails(SILU).lower).sum((0, 1)))


def test_counted_values_stay_counted() -> None:
    values = np.random.default_rng(0).normal(0, 4, (9000, 3, 7))
    counted = (values <= -3).sum(0)
    chosen, edges = np.arange(0, 9000, 9), Tails(lower=-3.0, closed=True)
    parts = parts_of(chosen, 9000, 3, Span(0, 3))
    looked = sampled_sums(Activation("hard_swish"), values[chosen], 9000, edges, parts)
    sums = looked.counted(counted, Span(0, 3))
    np.testing.assert_array_equal(sums.saturated, counted.sum(0))
    np.testing.assert_array_equal(sums.table[:3, 1], counted.sum(1))
    np.testing.assert_array_equal(sums.table[:, 2:], looked.table[:, 2:])
    assert sums.sampled is not None
    assert sums.sampled.saturated_variance == 0.0


def test_sums_of_a_share_and_of_all_values_add_up() -> None:
    random = np.random.default_rng(0)
    large, small = random.normal(-4, 4, (9000, 1, 7)), random.normal(-4, 4, (20, 1, 7))
    both = picked(large, 0) + picked(small, 0)
    assert both.elements == 9020
    assert both.sampled is not None
    assert both.sampled.of == 9020 * 7
    assert both.sampled.values == small.size + wanted(9000, large.size) * 7
    assert both.derivative_square == picked(large, 0).derivative_square + picked(small, 0).derivative_square
    assert not both.dead.any()


def whole_of(saturated: list[int], elements: int) -> ActivationSums:
    return ActivationSums.of("silu", elements, np.array([saturated]), np.zeros(1))


def test_a_unit_is_dead_where_it_is_in_all_that_was_seen() -> None:
    share = replace(whole_of([4, 4], 4), responsive=np.array([True, False]))
    whole = whole_of([2, 2], 2)
    np.testing.assert_array_equal((share + whole).dead, [False, True])
    alive = whole_of([2, 1], 2)
    np.testing.assert_array_equal((share + alive).dead, [False, False])
    np.testing.assert_array_equal((share + whole).pooled().dead, [False])
