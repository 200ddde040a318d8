"""Population statistics and their error from the five sums, against whole samples and against repeated draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from normdiag.metrics.population import blended, kept_share, population, samples_needed, statistics_drift
from normdiag.records import ChannelSums
from normdiag.records.recalibration import PopulationSums

EPS = 1e-5


def sums(x: np.ndarray, shift: np.ndarray) -> PopulationSums:
    """Of x (N, C, P)."""
    moved = x - shift[:, None]
    return PopulationSums(ChannelSums.of(moved.mean(2), (moved**2).mean(2)), x.shape[0] * x.shape[2])


@given(
    x=arrays(np.float64, st.tuples(st.integers(2, 6), st.integers(1, 3), st.integers(2, 5)), elements=st.floats(-9, 9)),
    shift=st.floats(-3, 3),
    cut=st.integers(1, 5),
)
def test_mean_and_unbiased_variance_whatever_the_shift_and_the_batches(x: np.ndarray, shift: float, cut: int) -> None:
    about = np.full(x.shape[1], shift)
    parts = [sums(part, about) for part in (x[:cut], x[cut:]) if len(part)]
    found = population(sum(parts[1:], parts[0]), about, "batch_norm", EPS)
    flat = x.transpose(1, 0, 2).reshape(x.shape[1], -1)
    np.testing.assert_allclose(found.mean, flat.mean(1), atol=1e-12)
    np.testing.assert_allclose(found.var, flat.var(1, ddof=1), atol=1e-10)


def test_an_instance_norm_averages_what_is_in_each_sample() -> None:
    x = np.random.default_rng(0).normal(size=(7, 3, 11)) + np.arange(7)[:, None, None]
    found = population(sums(x, np.zeros(3)), np.zeros(3), "instance_norm", EPS)
    np.testing.assert_allclose(found.var, x.var(2, ddof=1).mean(0), rtol=1e-12)


def test_the_error_is_the_scatter_of_repeated_draws() -> None:
    rng, about = np.random.default_rng(1), np.full(8, 3.0)  # the stored means may be far off
    true_mean, true_var = np.zeros(8), np.full(8, 1.0 + 0.25)  # samples differ by 0.5, positions by 1

    def draw() -> tuple[float, float]:
        x = 0.5 * rng.normal(size=(64, 8, 1)) + rng.normal(size=(64, 8, 16))
        found = population(sums(x, about), about, "batch_norm", EPS)
        return statistics_drift(true_mean, true_var, found, EPS), found.error

    drifts, errors = zip(*(draw() for _ in range(200)), strict=True)
    assert np.mean(errors) == pytest.approx(math.sqrt(np.mean(np.square(drifts))), rel=0.05)


def test_one_sample_tells_no_error() -> None:
    assert population(sums(np.ones((1, 2, 4)), np.zeros(2)), np.zeros(2), "batch_norm", EPS).error == math.inf


def test_blending_and_counting() -> None:
    np.testing.assert_allclose(blended(np.array([1.0]), np.array([3.0]), 0.75), [1.5])
    assert kept_share(64.0, 192) == 0.25 and kept_share(0.0, 5) == 0.0
    assert samples_needed(0.1, 100, 0.02) == 2500
