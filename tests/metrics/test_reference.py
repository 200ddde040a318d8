"""Drift between two sets of samples: its value by definition, and its error by how far it really scatters."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from normdiag.metrics.reference import drift_between
from normdiag.records import Drift, PointSums, Span

CHANNELS, POSITIONS = 12, 4


def drawn(rng: np.random.Generator, samples: int, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """Samples (N, C, P) whose channels and positions go together, as those of images do."""
    common = rng.normal(0, 1, (samples, 1, 1))
    own = rng.normal(0, 1, (samples, CHANNELS, 1))
    noise = rng.normal(0, 1, (samples, CHANNELS, POSITIONS))
    return np.linspace(0.5, 3, CHANNELS)[:, None] * (scale * (common + own + noise) + shift)


def sums(x: np.ndarray, shift: float = 0.0) -> PointSums:
    moved = x - shift
    return PointSums.of(moved.mean(2), (moved**2).mean(2), np.full(x.shape[1], shift), Span(0, len(x)))


@cache
def repeated(seen: int, reference: int, scale: float, shift: float, times: int = 300) -> tuple[Drift, ...]:
    rng = np.random.default_rng(0)
    return tuple(
        drift_between(sums(drawn(rng, seen, scale, shift), 0.3), sums(drawn(rng, reference), -0.2))
        for _ in range(times)
    )


def test_it_is_the_distance_of_means_and_deviations_in_deviations_of_the_reference() -> None:
    rng = np.random.default_rng(0)
    x, y = drawn(rng, 50, 2.0, 1.0), drawn(rng, 40)
    found = drift_between(sums(x, 1.0), sums(y))
    s = y.std((0, 2))
    z, r = (x.mean((0, 2)) - y.mean((0, 2))) / s, x.std((0, 2)) / s
    np.testing.assert_allclose(found.z, z, rtol=8e-3)
    np.testing.assert_allclose(found.r, r, rtol=8e-3)
    assert found.rms == pytest.approx(np.sqrt(np.mean(z**2 + (r - 1) ** 2)), rel=8e-3)


@pytest.mark.parametrize(("seen", "reference"), [(64, 64), (256, 64), (64, 1024)])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1.3, 0.5)])
def test_errors_are_those_of_both(seen: int, reference: int, scale: float, shift: float) -> None:
    found = repeated(seen, reference, scale, shift)
    for name, error in (("z", "se_z"), ("r", "se_r")):
        scatter = np.std([getattr(each, name) for each in found], axis=0)
        told = np.sqrt(np.mean([getattr(each, error) ** 2 for each in found], axis=0))
        np.testing.assert_allclose(told, scatter, rtol=0.25)
    scatter = float(np.std([each.square for each in found]))
    told = float(np.median([each.square_se for each in found]))
    assert 0.7 < told / scatter < 1.4


def test_the_deviation_of_the_reference_errs_too() -> None:
    """Far from it, z and r scatter with the deviation that they are measured in."""
    found = repeated(1024, 64, 2.5, 8.0, 200)
    for name, error in (("z", "se_z"), ("r", "se_r")):
        scatter = np.std([getattr(each, name) for each in found], axis=0)
        told = np.sqrt(np.mean([getattr(each, error) ** 2 for each in found], axis=0))
        np.testing.assert_allclose(told, scatter, rtol=0.25)


@pytest.mark.parametrize(("seen", "reference"), [(64, 64), (256, 64)])
def test_equal_data_has_no_drift_but_chance(seen: int, reference: int) -> None:
    found = repeated(seen, reference, 1.0, 0.0)
    squares = np.array([each.square for each in found])
    assert abs(squares.mean()) < 3 * squares.std() / np.sqrt(len(squares)) + 2e-3
    assert np.mean([each.lower > 0 for each in found]) < 0.08


def test_what_is_surely_there_is_told() -> None:
    assert all(each.lower > 0.15 for each in repeated(256, 256, 1.3, 0.5, 50))


def test_a_channel_that_did_not_vary_does_not_outweigh_all_others() -> None:
    x, y = (drawn(np.random.default_rng(seed), 64) for seed in (0, 1))
    x[:, 0] = y[:, 0] = 0.0
    assert drift_between(sums(x), sums(y)).lower == 0.0
    x[0, 0, 0] = 1.0  # one value of one sample
    assert drift_between(sums(x), sums(y)).d[0] < 0.2


def test_constant_points_agree_and_one_that_moved_is_far_off() -> None:
    same = np.full((16, 2, 3), 5.0)
    assert drift_between(sums(same, 5.0), sums(same)).rms == 0.0
    assert drift_between(sums(same + 1.0), sums(same)).rms > 1e3


def test_one_sample_says_nothing_surely() -> None:
    x = drawn(np.random.default_rng(0), 40)
    assert drift_between(sums(x[:1]), sums(x)).lower == 0.0
    assert drift_between(sums(x), sums(x[:1])).lower == 0.0


def test_values_that_are_not_finite_are_not_hidden() -> None:
    x = drawn(np.random.default_rng(0), 40)
    y = x.copy()
    y[0, 0, 0] = np.nan
    assert np.isnan(drift_between(sums(y), sums(x)).rms)
