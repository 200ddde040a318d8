"""Drift and its error bars against independent computations."""

from __future__ import annotations

import math
import operator
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.metrics.drift import batch_noise, measure_drift, observed_statistics
from normdiag.metrics.ratios import RatioErrors, se_of_d
from normdiag.records import ChannelSums, Drift

EPS = 1e-5


def sample(seed: int, n: int, c: int = 4, positions: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mean, var = rng.normal(size=c), rng.uniform(0.5, 2.0, c)
    own = rng.normal(size=(n, c, 1)) * 0.5
    x = (rng.normal(size=(n, c, positions)) + own) * 1.3 + 0.4
    return x, mean, var


def drift_of(x: np.ndarray, mean: np.ndarray, var: np.ndarray) -> Drift:
    u = x - mean[:, None]
    return measure_drift(ChannelSums.of(u.mean(2), (u * u).mean(2)), var, EPS)


@given(st.integers(0, 1000), st.integers(2, 30))
def test_z_r_and_d_follow_their_definitions(seed: int, n: int) -> None:
    x, mean, var = sample(seed, n)
    drift = drift_of(x, mean, var)
    s = np.sqrt(var + EPS)
    z = (x.mean((0, 2)) - mean) / s
    r = np.sqrt(x.var((0, 2)) + EPS) / s
    np.testing.assert_allclose(drift.z, z, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(drift.r, r, rtol=1e-9)
    np.testing.assert_allclose(drift.d, np.hypot(z, r - 1), rtol=1e-9, atol=1e-12)
    assert drift.rms == pytest.approx(np.sqrt(np.mean(drift.d**2)), rel=1e-12)
    assert drift.max == drift.d[drift.max_channel] == drift.d.max()


def test_drift_is_the_rms_difference_of_the_normalized_output() -> None:
    x, mean, var = sample(3, 400)
    drift = drift_of(x, mean, var)
    stored = (x - mean[:, None]) / np.sqrt(var + EPS)[:, None]
    observed = (x - x.mean((0, 2))[:, None]) / np.sqrt(x.var((0, 2)) + EPS)[:, None]
    np.testing.assert_allclose(np.sqrt(((stored - observed) ** 2).mean((0, 2))), drift.d, rtol=1e-4)


def test_standard_errors_of_z_and_r_equal_the_jackknife() -> None:
    x, mean, var = sample(5, 300)
    drift = drift_of(x, mean, var)
    leave_one_out = [drift_of(np.delete(x, i, 0), mean, var) for i in range(len(x))]
    for name in ("z", "r"):
        values = np.stack([getattr(each, name) for each in leave_one_out])
        jackknife = np.sqrt((len(x) - 1) * values.var(0))
        np.testing.assert_allclose(getattr(drift, f"se_{name}"), jackknife, rtol=0.05)


@pytest.mark.parametrize("lean", [-1.0, 0.0, 1.0])
def test_the_standard_error_of_d_knows_that_mean_and_variance_err_together(lean: float) -> None:
    rng = np.random.default_rng(7)
    m = rng.normal(size=(400, 3)) * 0.4 + 0.8
    v = 1.5 + lean * (m - 0.8) + rng.uniform(0, 0.3, (400, 3))
    drift = measure_drift(ChannelSums.of(m, m * m + v), np.ones(3), EPS)
    kept = [np.delete(np.arange(400), i) for i in range(400)]
    ones = np.ones(3)
    values = np.stack([measure_drift(ChannelSums.of(m[k], (m * m + v)[k]), ones, EPS).d for k in kept])
    np.testing.assert_allclose(drift.se_d, np.sqrt(399 * values.var(0)), rtol=0.05)


@pytest.mark.parametrize(
    ("z", "w", "var_z", "var_r", "lean"),
    [(2.5, 0.0, 1.0, 1.0, 0.0), (0.0, 2.6, 1.0, 1.0, 0.0), (1.8, 1.8, 1.0, 1.0, -0.5), (-2.1, 1.9, 1.0, 0.8, 0.4)],
)
def test_the_standard_error_of_d_counts_its_second_order(
    z: float, w: float, var_z: float, var_r: float, lean: float
) -> None:
    """Var(d^2) of a million drawn pairs of Gaussian errors, where the drift is not much more than they are."""
    cov = lean * math.sqrt(var_z * var_r)
    drawn = np.random.default_rng(1).multivariate_normal([z, w], [[var_z, cov], [cov, var_r]], 1_000_000)
    corrected = math.sqrt(z * z + w * w - var_z - var_r)
    expected = (drawn**2).sum(1).std() / (2.0 * corrected)
    assert expected < math.sqrt(var_z + var_r), "the case is not one that the noise floor decides"
    error = RatioErrors(*(np.array([each]) for each in (var_z, var_r, cov)))
    found = se_of_d(np.array([z]), np.array([1.0 + w]), np.array([corrected]), error)
    assert found[0] == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize("shift", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("n", [8, 64])
def test_the_error_bar_of_d_covers(n: int, shift: float) -> None:
    rng = np.random.default_rng(n)
    own = rng.normal(size=(500, n, 4)) * 0.5 + shift
    spread = rng.uniform(0.5, 1.5, size=(500, n, 4))
    truth = math.hypot(shift, math.sqrt(13 / 12 + 0.25 + EPS) / math.sqrt(1 + EPS) - 1)  # E[spread^2] = 13/12
    hits = []
    for k in range(500):
        drift = measure_drift(ChannelSums.of(own[k], own[k] ** 2 + spread[k] ** 2), np.ones(4), EPS)
        hits.append(np.abs(drift.corrected_d - truth) <= 2 * drift.se_d)
        assert (drift.se_d <= drift.floor * (1 + 1e-12)).all(), "a root of noise varies by no more than the noise"
    assert 0.90 <= np.mean(hits) <= 0.995


def test_the_noise_floor_is_what_a_healthy_layer_shows_by_chance() -> None:
    rng = np.random.default_rng(1)
    raw, corrected, lower = [], [], []
    for _ in range(300):
        m, v = rng.normal(size=(32, 8)) * 0.3, rng.uniform(0.5, 1.5, (32, 8))
        drift = measure_drift(ChannelSums.of(m, m * m + v), np.full(8, 1.09), EPS)
        raw.append(drift.rms**2 - np.mean(drift.floor**2))
        corrected.append(drift.corrected)
        lower.append(drift.lower)
    assert abs(np.mean(raw)) < 3 * np.std(raw) / math.sqrt(300)
    assert np.mean(np.array(lower) > 0) < 0.03
    assert np.mean(corrected) < 0.5 * 0.055, "the correction takes away most of the floor of 0.055"


def test_one_sample_has_a_drift_but_no_error_bar_to_act_on() -> None:
    drift = drift_of(*sample(0, 1))
    assert np.isfinite(drift.rms)
    assert np.isinf(drift.se)
    assert drift.lower == 0.0


@pytest.mark.parametrize("broken", [math.nan, -1.0])
def test_a_broken_variance_makes_the_layer_nan_not_zero(broken: float) -> None:
    x, mean, var = sample(0, 8)
    var[1] = broken
    drift = drift_of(x, mean, var)
    assert math.isnan(drift.rms)
    assert drift.lower == 0.0
    assert np.isfinite(drift.d[[0, 2, 3]]).all(), "the other channels keep their numbers"
    assert drift.max_channel == 1


def test_batch_noise_is_the_spread_of_batch_statistics() -> None:
    rng = np.random.default_rng(0)
    n, b = 20_000, 16
    m, v = rng.normal(size=(n, 1)) * 0.3, rng.uniform(0.5, 1.5, (n, 1))
    parts = [ChannelSums.of(m[i : i + b], (m * m + v)[i : i + b]) for i in range(0, n, b)]
    full = measure_drift(reduce(operator.add, parts), np.ones(1), EPS)
    batches = [measure_drift(each, np.ones(1), EPS) for each in parts]
    spread = math.sqrt(np.mean([(each.z - full.z) ** 2 + (each.r - full.r) ** 2 for each in batches]))
    assert batch_noise(full, b) == pytest.approx(spread, rel=0.08)
    assert batch_noise(batches[0], b) is None, "one batch differs from no other"


def test_observed_statistics_are_the_data_s() -> None:
    x, mean, _ = sample(2, 50)
    u = x - mean[:, None]
    observed_mean, observed_var = observed_statistics(ChannelSums.of(u.mean(2), (u * u).mean(2)), mean)
    np.testing.assert_allclose(observed_mean, x.mean((0, 2)), rtol=1e-9)
    np.testing.assert_allclose(observed_var, x.var((0, 2)), rtol=1e-9)
