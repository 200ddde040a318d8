"""The derivatives of activations as graph nodes: the formulas of normdiag.ops in ONNX operators."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from normdiag.observe.onnx.edit import DOUBLE, GraphEdit
from normdiag.ops import Activation


@dataclass(frozen=True, eq=False)
class Expression:
    """A tensor of a graph under construction that can be calculated with. `element` is FLOAT or DOUBLE."""

    edit: GraphEdit
    name: str
    element: int

    def apply(self, op: str, *others: Expression | float) -> Expression:
        """The result of an operator on this and further operands."""
        return Expression(self.edit, self.edit.node(op, self.name, *map(self.operand, others)), self.element)

    def operand(self, other: Expression | float) -> str:
        """The name of an operand; numbers become constants of this element type."""
        if isinstance(other, Expression):
            return other.name
        return self.edit.constant(other, np.float64 if self.element == DOUBLE else np.float32)

    def above(self, bound: float) -> Expression:
        """1 where the value is above the bound, else 0."""
        mask: Any = self.edit.node("Greater", self.name, self.operand(bound))
        return Expression(self.edit, self.edit.cast(mask, self.element), self.element)

    def negative_part(self) -> Expression:
        """min(x, 0), which has no broadcasting operator in the oldest operator sets."""
        return self - self.apply("Relu")

    def __add__(self, other: Expression | float) -> Expression:
        return self.apply("Add", other)

    def __sub__(self, other: Expression | float) -> Expression:
        return self.apply("Sub", other)

    def __mul__(self, other: Expression | float) -> Expression:
        return self.apply("Mul", other)

    def one_minus(self) -> Expression:
        """1 - x."""
        return self * -1.0 + 1.0


def _exponential(y: Expression, alpha: float, scale: float) -> Expression:
    """scale alpha e^x = y + scale alpha where x <= 0, else scale."""
    lowest = scale * alpha
    return y.negative_part() + lowest + y.above(0.0) * (scale - lowest)


def _silu(x: Expression) -> Expression:
    """Of alpha x where f is x sigmoid(alpha x)."""
    s = x.apply("Sigmoid")
    return s * (x * s.one_minus() + 1.0)


def _mish(x: Expression) -> Expression:
    t = x.apply("Softplus").apply("Tanh")
    return t + x * x.apply("Sigmoid") * (t * t).one_minus()


def _gelu(x: Expression) -> Expression:
    distribution = (x * math.sqrt(0.5)).apply("Erf") * 0.5 + 0.5
    density = (x * x * -0.5).apply("Exp") * (1.0 / math.sqrt(2.0 * math.pi))
    return distribution + x * density


def _gelu_tanh(x: Expression) -> Expression:
    c, k = math.sqrt(2.0 / math.pi), 0.044715
    square = x * x
    t = (x * (square * (c * k) + c)).apply("Tanh")
    return t * 0.5 + 0.5 + x * (t * t).one_minus() * (square * (1.5 * k * c) + 0.5 * c)


def _hard_swish(x: Expression) -> Expression:
    """(2x + 3)/6 between -3 and 3, 1 above."""
    top = x.above(
        math.nextafter(3.0, 0.0) if x.element == DOUBLE else float(np.nextafter(np.float32(3), np.float32(0)))
    )
    inside = x.above(-3.0) - top
    return inside * (x * (1.0 / 3.0) + 0.5) + top


Derivative = Callable[[Activation, Expression, Expression], Expression]
# f'(x) out of the input x and the output y, whichever is cheaper. Kinds with two constant slopes are counted instead.
DERIVATIVES: Mapping[str, Derivative] = {
    "sigmoid": lambda f, x, y: y * y.one_minus(),
    "tanh": lambda f, x, y: (y * y).one_minus(),
    "softplus": lambda f, x, y: (x * f.alpha).apply("Sigmoid"),
    "elu": lambda f, x, y: _exponential(y, f.alpha, 1.0),
    "selu": lambda f, x, y: _exponential(y, f.alpha, f.beta),
    "silu": lambda f, x, y: _silu(x * f.alpha),
    "mish": lambda f, x, y: _mish(x),
    "gelu": lambda f, x, y: _gelu(x),
    "gelu_tanh": lambda f, x, y: _gelu_tanh(x),
    "hard_swish": lambda f, x, y: _hard_swish(x),
}
