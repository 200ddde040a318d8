"""Raw sums, shifted in float64, against the same computed straight from the activations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.observe.sums import SHIFT_RATIO, channel_sums, needs_shift


def direct(x: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    u = x.astype(np.float64) - mean.astype(np.float64)[:, None]
    return u.mean(2), (u * u).mean(2)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 40), st.integers(0, 10_000))
def test_shifted_sums_equal_the_sums_of_the_shifted(n: int, c: int, positions: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=c)
    x = rng.normal(size=(n, c, positions)) + mean[:, None]
    sums = channel_sums(x.sum(2), (x * x).sum(2), positions, mean)
    m, q = direct(x, mean)
    assert sums.count == n
    np.testing.assert_allclose(sums.m, m.sum(0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(sums.q, q.sum(0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(sums.second[0], (m * m).sum(0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(sums.second[1], (q * q).sum(0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(sums.second[2], (m * q).sum(0), rtol=1e-9, atol=1e-9)


def test_float32_sums_at_the_shift_limit_keep_the_digits_that_the_drift_needs() -> None:
    rng = np.random.default_rng(0)
    std, mean = 0.5, np.full(3, 0.5 * np.sqrt(SHIFT_RATIO))
    x = (rng.normal(size=(8, 3, 3136)) * std + mean[:, None]).astype(np.float32)
    sums = channel_sums(x.sum(2), (x * x).sum(2, dtype=np.float32), 3136, mean)
    _, q = direct(x, mean)
    np.testing.assert_allclose(sums.q, q.sum(0), rtol=2e-6)


def test_rounding_never_gives_a_negative_variance() -> None:
    x = np.full((4, 1, 1000), 0.1, np.float32)
    sums = channel_sums(x.sum(2), (x * x).sum(2), 1000, np.zeros(1))
    assert (sums.q >= sums.m * sums.m / 4 - 1e-12).all()


@pytest.mark.parametrize(
    ("mean", "var", "shift"),
    [([0.0, 1.0], [1.0, 1.0], False), ([0.0, 4.0], [1.0, 1.0], True), ([0.1], [0.0], True), ([0.0], [0.0], False)],
)
def test_only_large_means_are_shifted(mean: list[float], var: list[float], shift: bool) -> None:
    assert needs_shift(np.array(mean), np.array(var)) is shift
