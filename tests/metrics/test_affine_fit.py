"""The fitted scale and shift, against the one that made the statistics."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from normdiag.metrics.affine_fit import fit_affine, is_linear, probes, solve_response

EPS = 1e-5


def measured(
    x: NDArray[np.float64], weights: NDArray[np.float64], mean: NDArray[np.float64], settings: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    channels = x.shape[1]
    outputs = [(x * t[:channels] + t[channels:-1]) @ weights.T - mean for t in settings]
    return np.array([y.mean(0) for y in outputs]), np.array([(y * y).mean(0) for y in outputs])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_true_scale_and_shift_are_found(channels: int) -> None:
    rng = np.random.default_rng(channels)
    mixing = np.triu(rng.uniform(0.3, 1.0, (channels, channels)))
    x, weights = rng.uniform(0, 1, (3000, channels)) @ mixing, rng.normal(size=(16, channels))
    scale, shift = rng.uniform(3, 5, channels), rng.uniform(-3, -1, channels)
    y = (x * scale + shift) @ weights.T
    settings = probes(channels)
    response = solve_response(settings, *measured(x, weights, y.mean(0), settings))
    start = np.concatenate([np.ones(channels), np.zeros(channels), [1.0]])
    found, drift = fit_affine(response, y.var(0), EPS, [start])
    np.testing.assert_allclose(found, [*scale, *shift, 1.0], rtol=1e-4)
    assert drift < 1e-4  # the stored variance has no eps added


def test_what_is_not_linear_is_noticed() -> None:
    rng = np.random.default_rng(0)
    x, weights = rng.uniform(0, 1, (500, 2)), rng.normal(size=(8, 2))
    settings = np.vstack([probes(2), [0.7, 1.3, -0.2, 0.4, 1.0]])
    outputs = [np.maximum((x * t[:2] + t[2:4]) @ weights.T, 0.0) for t in settings]
    m, q = np.array([y.mean(0) for y in outputs]), np.array([(y * y).mean(0) for y in outputs])
    assert not is_linear(solve_response(settings[:-1], m[:-1], q[:-1]), settings[-1], m[-1])
    plain, square = measured(x, weights, np.zeros(8), settings)
    assert is_linear(solve_response(settings[:-1], plain[:-1], square[:-1]), settings[-1], plain[-1])
