"""The scale and shift of each input channel that bring a norm layer's statistics nearest to the stored ones.

Between the input x and the first norm layer lies, as a rule, nothing but a linear layer. With inputs a_c x_c + b_c the
mean m of a channel of the norm is then linear in t = (a_1 .. a_C, b_1 .. b_C, 1), and its second moment q a quadratic
form: m = g't, q = t'Qt. Both are measured exactly by running the model on a few such inputs; no weight is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STEPS = 60


@dataclass(frozen=True, eq=False)
class Response:
    """What a norm with K channels sees: `linear` (K, T) = g and `quadratic` (K, T, T) = Q, T = 2 C + 1.

    Both are about the stored mean, as the sums of the observation are.
    """

    linear: Floats
    quadratic: Floats


def probes(channels: int) -> Floats:
    """The settings t (P, T) to run, T = 2 C + 1: enough to solve for m and q, which are in t of the second degree."""
    free = 2 * channels
    rows = [np.zeros(free)]
    rows += list(np.eye(free))
    rows += [first + second for first, second in combinations_with_replacement(np.eye(free), 2)]
    return np.column_stack([np.array(rows), np.ones(len(rows))])


def solve_response(settings: Floats, m: Floats, q: Floats) -> Response:
    """The response from what was measured at each setting: `m` and `q` (P, K) at `settings` (P, T)."""
    size = settings.shape[1]
    pairs = list(combinations_with_replacement(range(size), 2))
    products = np.stack([settings[:, i] * settings[:, j] for i, j in pairs], 1)
    linear = np.linalg.lstsq(settings, m, rcond=None)[0].T
    flat = np.linalg.lstsq(products, q, rcond=None)[0].T
    quadratic = np.zeros((q.shape[1], size, size))
    for column, (i, j) in enumerate(pairs):
        quadratic[:, i, j] += flat[:, column] / 2
        quadratic[:, j, i] += flat[:, column] / 2
    return Response(np.asarray(linear, np.float64), quadratic)


def is_linear(response: Response, setting: Floats, m: Floats, tolerance: float = 1e-3) -> bool:
    """Whether the response foretells the means `m` (K,) measured at one more `setting` (T,)."""
    told = response.linear @ setting
    return bool(np.linalg.norm(told - m) <= tolerance * max(float(np.linalg.norm(m)), 1e-12))


def fit_affine(response: Response, var: Floats, eps: float, starts: Sequence[Floats]) -> tuple[Floats, float]:
    """The setting t (T,) with the least drift, and that drift, the RMS of sqrt(z^2 + (r - 1)^2) over the channels.

    Levenberg-Marquardt (Nocedal and Wright 2006, section 10.3) from each of `starts` (T,); `var` (K,) is stored.
    """
    s = np.sqrt(np.asarray(var, np.float64) + eps)
    found = [_descend(response, s, eps, start) for start in starts]
    return min(found, key=lambda item: item[1])


def _descend(response: Response, s: Floats, eps: float, start: Floats) -> tuple[Floats, float]:
    setting, damping = start.copy(), 1e-3
    residual, slope = _residual(response, s, eps, setting)
    for _ in range(STEPS):
        normal = slope.T @ slope
        step = np.linalg.lstsq(normal + damping * np.diag(np.diag(normal) + 1e-12), -slope.T @ residual, rcond=None)[0]
        trial = setting.copy()
        trial[:-1] += step
        there, slope_there = _residual(response, s, eps, trial)
        if there @ there < residual @ residual:
            setting, residual, slope, damping = trial, there, slope_there, damping / 3
        else:
            damping *= 4
    return setting, float(np.sqrt(residual @ residual / len(s)))


def _residual(response: Response, s: Floats, eps: float, setting: Floats) -> tuple[Floats, Floats]:
    """(z, r - 1) of all channels (2 K,), and the derivatives by all of t but its last entry (2 K, T - 1)."""
    m = response.linear @ setting
    turned = response.quadratic @ setting
    spread = np.sqrt(np.maximum(turned @ setting - m * m, 0.0) + eps)
    slope = (turned - m[:, None] * response.linear) / (spread * s)[:, None]
    derivative = np.concatenate([response.linear / s[:, None], slope])[:, :-1]
    return np.concatenate([m / s, spread / s - 1.0]), derivative
