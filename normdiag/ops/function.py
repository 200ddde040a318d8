"""What an activation function is: the record that each file of this folder fills in, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from normdiag.ops.activation import Activation, Numbers
from normdiag.ops.expressions import Form

Floats = NDArray[np.float64]

# sech^2(2): the relative derivative of tanh at 2 and, since sigmoid(2x) = (1 + tanh x)/2, of the sigmoid at 4.
SATURATION_THRESHOLD = 1.0 - math.tanh(2.0) ** 2


@dataclass(frozen=True)
class Tails:
    """Saturated are x <= lower and x >= upper if `closed`, else x < lower and x > upper. Infinite: no such tail."""

    lower: float = -math.inf
    upper: float = math.inf
    closed: bool = False


@dataclass(frozen=True)
class Pieces:
    """The derivative of a piecewise linear function: `inside` for lower < x < upper, else `outside`."""

    lower: float
    upper: float
    inside: float = 1.0
    outside: float = 0.0

    def derivative(self, x: Floats) -> Floats:
        """Of every value; at the corners that outside, as PyTorch defines it."""
        return np.where((x > self.lower) & (x < self.upper), self.inside, self.outside)

    def tails(self, threshold: float) -> Tails:
        """The outside, where it is flat enough."""
        steepest = max(abs(self.inside), abs(self.outside))
        return Tails(self.lower, self.upper, closed=True) if abs(self.outside) < threshold * steepest else Tails()


class Attributes(Protocol):
    """The attributes of an ONNX node, and those of its inputs that were attributes once (Clip's bounds)."""

    def number(self, name: str, default: float) -> float:
        """A float attribute; NaN where it is computed."""

    def text(self, name: str, default: str) -> str:
        """A string attribute."""


@dataclass(frozen=True)
class Operator:
    """An ONNX operator whose first input the function is applied to. `read` takes its numbers from a node; None where
    this node is another function, or has numbers that only running it would tell.

    `inputs` names the inputs after the first that may hold a number, "" for those that do not. `adds`: a second
    input is added to the first one before. `quantized`: the first input is integers, of the scale and the zero point
    that come after it.
    """

    name: str
    read: Callable[[Attributes], Activation | None]
    domain: str = ""
    inputs: tuple[str, ...] = ()
    adds: bool = False
    quantized: bool = False


@dataclass(frozen=True)
class TorchNames:
    """What PyTorch calls a function: in torch, torch.nn.functional, Tensor and aten (an underscore after means in
    place), and as classes in torch.nn. `read` takes the arguments after the tensor; None where this call is another
    function, or no activation.
    """

    functions: tuple[str, ...]
    read: Callable[..., Activation | None]
    modules: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Function:
    """One kind of activation. Values and derivatives are float64, elementwise, of any shape.

    `pieces` is set where it is piecewise linear, and then says all about its derivative; else `derivative` and `tails`
    (numbers, threshold) do. `written` are the forms that exporters write it out in.

    `rectifies`: half of the values are meant to be off. `homogeneous`: f(cx) = c f(x) for c > 0. `clips`: the output
    lies on a bound exactly where the input is beyond it. `s_slope` is the steepest slope of an S-shaped function, which
    saturates on both sides. `guards` tells numbers that make it a guard against overflow rather than an activation.
    """

    kind: str
    value: Callable[[Numbers, Floats], Floats]
    pieces: Callable[[Numbers], Pieces] | None = None
    derivative: Callable[[Numbers, Floats], Floats] | None = None
    tails: Callable[[Numbers, float], Tails] | None = None
    torch: tuple[TorchNames, ...] = ()
    onnx: tuple[Operator, ...] = ()
    written: Mapping[str, Form] = field(default_factory=dict)
    rectifies: bool = False
    homogeneous: bool = False
    clips: bool = False
    s_slope: float | None = None
    guards: Callable[[Numbers], bool] = lambda numbers: False

    def derivative_at(self, numbers: Numbers, x: NDArray[Any]) -> Floats:
        """f'(x), float64, of the shape of x."""
        values = np.asarray(x, np.float64)
        if self.pieces is not None:
            return self.pieces(numbers).derivative(values)
        assert self.derivative is not None, f"{self.kind} has neither pieces nor a derivative"
        return np.asarray(self.derivative(numbers, values))

    def saturated(self, numbers: Numbers, threshold: float = SATURATION_THRESHOLD) -> Tails:
        """Where |f'| stays below threshold * max|f'| from x out to infinity."""
        if self.pieces is not None:
            return self.pieces(numbers).tails(threshold)
        if self.tails is not None:
            return self.tails(numbers, threshold)
        return searched_tails(lambda x: self.derivative_at(numbers, x), threshold)


def plain(kind: str, **numbers: float) -> Callable[..., Activation]:
    """A reader for what has no arguments that matter."""
    return lambda *_, **__: Activation(kind, **numbers)


def searched_tails(derivative: Callable[[Floats], Floats], threshold: float) -> Tails:
    """The tails of a smooth function whose peaks lie within 40 of zero: on a grid first, then by bisection.

    |f'| has to rise monotonically from either end to where it first reaches the threshold. A tail that does not fall
    below it within 40 is none.
    """
    lower = _edge(derivative, threshold)
    upper = -_edge(lambda x: derivative(-x), threshold)
    return Tails(lower, upper, closed=False)


def _edge(derivative: Callable[[Floats], Floats], threshold: float) -> float:
    grid = np.linspace(-40.0, 40.0, 16001)
    slopes = np.abs(derivative(grid))
    limit = threshold * slopes.max()
    above = int(np.argmax(slopes >= limit))
    if above == 0:
        return -math.inf
    low, high = float(grid[above - 1]), float(grid[above])
    for _ in range(60):
        middle = 0.5 * (low + high)
        inside = abs(float(derivative(np.array(middle)))) < limit
        low, high = (middle, high) if inside else (low, middle)
    return high
