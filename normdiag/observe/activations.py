"""Activation functions: where they are saturated, and their derivatives.

An activation is saturated at x where |f'| stays below threshold * max|f'| from x out to infinity: in its tails. For
the sigmoid with the default threshold that is |x| > 4, for tanh |x| > 2. Piecewise linear kinds are saturated on the
closed flat piece: ReLU at x <= 0, ReLU6 also at x >= 6, since the gradient there is 0 as frameworks define it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# sech^2(2): the relative derivative of tanh at 2 and, since sigmoid(2x) = (1 + tanh x)/2, of the sigmoid at 4.
SATURATION_THRESHOLD = 1.0 - math.tanh(2.0) ** 2
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805

ACTIVATION_KINDS = (
    "sigmoid",
    "tanh",
    "hard_sigmoid",
    "relu",
    "leaky_relu",
    "relu6",
    "clip",
    "elu",
    "selu",
    "gelu",
    "gelu_tanh",
    "silu",
    "hard_swish",
    "mish",
    "softplus",
)
# Half of the values of these are inactive in a healthy network: only units that are inactive throughout tell anything.
RECTIFIERS = frozenset(
    (
        "relu",
        "leaky_relu",
        "relu6",
        "clip",
        "elu",
        "selu",
        "gelu",
        "gelu_tanh",
        "silu",
        "hard_swish",
        "mish",
        "softplus",
    )
)


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
    if kind in ("relu6", "clip"):
        return Tails(activation.low, activation.high, closed=True)
    if kind == "relu":
        return Tails(0.0, math.inf, closed=True)
    if kind == "leaky_relu":
        return Tails(0.0 if abs(a) < threshold else -math.inf, math.inf, closed=False)
    if kind == "hard_sigmoid":
        return Tails(-0.5 / a, 0.5 / a, closed=True)
    if kind == "hard_swish":
        return Tails(-3.0, math.inf, closed=True)
    if kind == "sigmoid":
        edge = 2.0 * math.acosh(1.0 / math.sqrt(threshold))  # sech^2(x/2) = threshold
        return Tails(-edge, edge, closed=False)
    if kind == "tanh":
        edge = math.acosh(1.0 / math.sqrt(threshold))  # sech^2(x) = threshold
        return Tails(-edge, edge, closed=False)
    if kind in ("elu", "selu"):
        scale = max(1.0, a) / a if kind == "elu" else 1.0  # alpha e^x = threshold * max(1, alpha)
        return Tails(math.log(threshold * scale) if a > 0 else -math.inf, math.inf, closed=False)
    if kind == "softplus":
        return Tails(math.log(threshold / (1.0 - threshold)) / a, math.inf, closed=False)
    return Tails(_left_tail(activation, threshold), math.inf, closed=False)


def derivative(activation: Activation, x: NDArray[Any]) -> Floats:
    """f'(x) in float64, elementwise; 0 at the corners of the flat pieces, as PyTorch defines it."""
    x = np.asarray(x, np.float64)
    kind, a = activation.kind, activation.alpha
    if kind in ("relu", "relu6", "clip"):
        bounds = tails(activation)
        return ((x > bounds.lower) & (x < bounds.upper)).astype(np.float64)
    if kind == "leaky_relu":
        return np.where(x > 0, 1.0, a)
    if kind == "hard_sigmoid":
        return np.where(np.abs(x) < 0.5 / a, a, 0.0)
    if kind == "hard_swish":
        return np.where(x <= -3, 0.0, np.where(x >= 3, 1.0, (2.0 * x + 3.0) / 6.0))
    if kind == "elu":
        return np.where(x > 0, 1.0, a * np.exp(np.minimum(x, 0.0)))
    if kind == "selu":
        return SELU_SCALE * np.where(x > 0, 1.0, SELU_ALPHA * np.exp(np.minimum(x, 0.0)))
    return _smooth_derivative(kind, a, x)


def _smooth_derivative(kind: str, a: float, x: Floats) -> Floats:
    if kind == "sigmoid":
        return _sigmoid(x) * _sigmoid(-x)
    if kind == "tanh":
        return np.asarray(1.0 / np.cosh(np.clip(x, -350, 350)) ** 2)
    if kind == "softplus":
        return _sigmoid(a * x)
    if kind == "silu":
        return _sigmoid(x) * (1.0 + x * _sigmoid(-x))
    if kind == "mish":
        t = np.tanh(np.logaddexp(0.0, x))
        return np.asarray(t + x * _sigmoid(x) * (1.0 - t * t))
    if kind == "gelu_tanh":
        c, k = math.sqrt(2.0 / math.pi), 0.044715
        t = np.tanh(c * (x + k * x**3))
        return np.asarray(0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * c * (1.0 + 3.0 * k * x * x))
    if kind == "gelu":
        erf = np.vectorize(math.erf, otypes=[np.float64])
        density = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
        return np.asarray(0.5 * (1.0 + erf(x / math.sqrt(2.0))) + x * density)
    raise ValueError(f"unknown activation {kind!r}")


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def _left_tail(activation: Activation, threshold: float) -> float:
    """Where |f'| of GELU, SiLU or Mish last exceeds threshold * max|f'| on the left, found by bisection.

    Left of its minimum |f'| of these falls monotonically beyond x = -2.5 or so; coming from -40 the first grid point
    above the limit brackets the edge.
    """
    grid = np.linspace(-40.0, 10.0, 5001)
    slopes = np.abs(derivative(activation, grid))
    limit = threshold * slopes.max()
    above = int(np.argmax(slopes >= limit))
    low, high = float(grid[above - 1]), float(grid[above])
    for _ in range(60):
        middle = 0.5 * (low + high)
        if abs(float(derivative(activation, np.array(middle)))) >= limit:
            high = middle
        else:
            low = middle
    return high
