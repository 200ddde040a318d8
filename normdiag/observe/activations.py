"""Activation functions: where they are saturated, and their derivatives.

An activation is saturated at x where |f'| stays below threshold * max|f'| from x out to infinity: in its tails. For
the sigmoid with the default threshold that is |x| > 4, for tanh |x| > 2. Piecewise linear kinds are saturated on the
closed flat piece: ReLU at x <= 0, ReLU6 also at x >= 6, since the gradient there is 0 as frameworks define it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# sech^2(2): the relative derivative of tanh at 2 and, since sigmoid(2x) = (1 + tanh x)/2, of the sigmoid at 4.
SATURATION_THRESHOLD = 1.0 - math.tanh(2.0) ** 2
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


@dataclass(frozen=True)
class Activation:
    """An activation function. `alpha`: slope of leaky_relu, alpha of elu and hard_sigmoid (slope), beta of softplus.

    `low` and `high` are the bounds of clip (and relu6). hard_sigmoid is max(0, min(1, alpha x + 1/2)).
    """

    kind: str
    alpha: float = 1.0
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Tails:
    """Saturated are x <= lower and x >= upper if `closed`, else x < lower and x > upper. Infinite: no such tail."""

    lower: float
    upper: float
    closed: bool


def tails(activation: Activation, threshold: float = SATURATION_THRESHOLD) -> Tails:
    """The saturated tails of an activation for a threshold in (0, 1) on |f'| / max|f'|."""
    kind, a = activation.kind, activation.alpha
    if kind in _FLAT_PIECES:
        return Tails(*_FLAT_PIECES[kind](activation), closed=True)
    if kind in _EDGES:
        return Tails(*_EDGES[kind](a, threshold), closed=False)
    return Tails(_left_tail(activation, threshold), math.inf, closed=False)


def derivative(activation: Activation, x: NDArray[Any]) -> Floats:
    """f'(x) in float64, elementwise; 0 at the corners of the flat pieces, as PyTorch defines it."""
    return np.asarray(_DERIVATIVES[activation.kind](activation, np.asarray(x, np.float64)))


def _sech2_edges(scale: float, threshold: float) -> tuple[float, float]:
    """Where sech^2(x / scale) = threshold: tanh with scale 1, the sigmoid with scale 2."""
    edge = scale * math.acosh(1.0 / math.sqrt(threshold))
    return -edge, edge


def _exponential_edge(a: float, threshold: float) -> tuple[float, float]:
    """Where a e^x = threshold * max(1, a), the steepest slope of an ELU."""
    return (math.log(threshold * max(1.0, a) / a) if a > 0 else -math.inf), math.inf


_FLAT_PIECES: Mapping[str, Callable[[Activation], tuple[float, float]]] = {
    "relu": lambda f: (0.0, math.inf),
    "relu6": lambda f: (f.low, f.high),
    "clip": lambda f: (f.low, f.high),
    "hard_sigmoid": lambda f: (-0.5 / f.alpha, 0.5 / f.alpha),
    "hard_swish": lambda f: (-3.0, math.inf),
}
_EDGES: Mapping[str, Callable[[float, float], tuple[float, float]]] = {
    "leaky_relu": lambda a, t: (0.0 if abs(a) < t * max(1.0, abs(a)) else -math.inf, math.inf),
    "sigmoid": lambda a, t: _sech2_edges(2.0, t),
    "tanh": lambda a, t: _sech2_edges(1.0, t),
    "elu": _exponential_edge,
    "selu": lambda a, t: _exponential_edge(SELU_ALPHA, t),
    "softplus": lambda a, t: (math.log(t / (1.0 - t)) / a, math.inf),
}


def _left_tail(activation: Activation, threshold: float) -> float:
    """Where |f'| of GELU, SiLU or Mish reaches threshold * max|f'| coming from the left, found by bisection.

    |f'| of these rises monotonically from -infinity to its first peak, near x = -1.4 to -2.5.
    """
    grid = np.linspace(-40.0, 10.0, 5001)
    slopes = np.abs(derivative(activation, grid))
    limit = threshold * slopes.max()
    above = int(np.argmax(slopes >= limit))
    low, high = float(grid[above - 1]), float(grid[above])
    for _ in range(60):
        middle = 0.5 * (low + high)
        inside = abs(float(derivative(activation, np.array(middle)))) < limit
        low, high = (middle, high) if inside else (low, middle)
    return high


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def _flat_derivative(f: Activation, x: Floats) -> Floats:
    lower, upper = _FLAT_PIECES[f.kind](f)
    return np.where((x > lower) & (x < upper), 1.0, 0.0)


def _mish_derivative(_: Activation, x: Floats) -> Floats:
    t = np.tanh(np.logaddexp(0.0, x))
    return np.asarray(t + x * _sigmoid(x) * (1.0 - t * t))


def _gelu_derivative(_: Activation, x: Floats) -> Floats:
    erf = np.vectorize(math.erf, otypes=[np.float64])
    density = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return np.asarray(0.5 * (1.0 + erf(x / math.sqrt(2.0))) + x * density)


def _gelu_tanh_derivative(_: Activation, x: Floats) -> Floats:
    c, k = math.sqrt(2.0 / math.pi), 0.044715
    t = np.tanh(c * (x + k * x**3))
    return np.asarray(0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * c * (1.0 + 3.0 * k * x * x))


def _exponential_derivative(alpha: float, scale: float, x: Floats) -> Floats:
    return np.asarray(scale * np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0.0))))


_DERIVATIVES: Mapping[str, Callable[[Activation, Floats], Floats]] = {
    "relu": _flat_derivative,
    "relu6": _flat_derivative,
    "clip": _flat_derivative,
    "leaky_relu": lambda f, x: np.where(x > 0, 1.0, f.alpha),
    "hard_sigmoid": lambda f, x: f.alpha * _flat_derivative(f, x),
    "hard_swish": lambda f, x: np.where(x >= 3, 1.0, (2.0 * x + 3.0) / 6.0) * (x > -3),
    "elu": lambda f, x: _exponential_derivative(f.alpha, 1.0, x),
    "selu": lambda f, x: _exponential_derivative(SELU_ALPHA, SELU_SCALE, x),
    "sigmoid": lambda f, x: np.asarray(_sigmoid(x) * _sigmoid(-x)),
    "tanh": lambda f, x: np.asarray(1.0 / np.cosh(np.clip(x, -350.0, 350.0)) ** 2),
    "softplus": lambda f, x: _sigmoid(f.alpha * x),
    "silu": lambda f, x: np.asarray(_sigmoid(x) * (1.0 + x * _sigmoid(-x))),
    "mish": _mish_derivative,
    "gelu": _gelu_derivative,
    "gelu_tanh": _gelu_tanh_derivative,
}
ACTIVATION_KINDS = tuple(_DERIVATIVES)
