"""Elementwise expressions of one tensor: a(x) + b(x) * gate(arg(x)) with polynomials a, b and arg.

Activations that exporters take apart all have this form, so that multiplying and adding such expressions finds
them in any order of the operands: GELU is x/2 + x/2 * erf(x / sqrt 2), SiLU is 0 + x * sigmoid(x).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from normdiag.ops.activation import Activation

# Coefficients by power. The tanh form of GELU has a cube in it; nothing needs more.
Poly = tuple[float, ...]
MAX_DEGREE = 3
ZERO: Poly = ()
IDENTITY: Poly = (0.0, 1.0)
HALF: Poly = (0.0, 0.5)
# Constants in half precision are off by 5e-4.
TOLERANCE = 2e-3
# Gates that are no activations of their own.
ERF, TANH_SOFTPLUS = Activation("erf"), Activation("tanh_softplus")


@dataclass(frozen=True)
class Gate:
    """A nonlinear function of a polynomial. `input` is the tensor that it is applied to."""

    function: Activation
    arg: Poly
    input: str


@dataclass(frozen=True)
class Expression:
    """a + b * gate, polynomials in the tensor `x`, whose values `root` hands on. A constant has no tensor."""

    root: str
    x: str
    a: Poly
    b: Poly = ZERO
    gate: Gate | None = None
    nodes: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Written:
    """An activation that an expression turned out to be, and the tensor that it is applied to."""

    function: Activation
    input: str


Form = Callable[[Expression, Gate], "Written | None"]


def constant(value: float) -> Expression:
    """A number."""
    return Expression("", "", (value,))


def variable(root: str, x: str) -> Expression:
    """A tensor."""
    return Expression(root, x, (0.0, 1.0))


def multiply(left: Expression, right: Expression) -> Expression | None:
    """The product; None where the factors are of different tensors or both have gates."""
    if not _compatible(left, right) or (left.gate and right.gate):
        return None
    if right.gate is not None:
        left, right = right, left
    a, b = _times(left.a, right.a), _times(left.b, right.a)
    return None if max(len(a), len(b)) > MAX_DEGREE + 1 else _joined(left, right, a, b)


def add(left: Expression, right: Expression, sign: float = 1.0) -> Expression | None:
    """left + sign * right; None where they are of different tensors or have different gates."""
    if not _compatible(left, right) or (left.gate and right.gate and left.gate != right.gate):
        return None
    return _joined(left, right, _plus(left.a, right.a, sign), _plus(left.b, right.b, sign))


def power(expression: Expression, exponent: int) -> Expression | None:
    """A polynomial to the power of 2 or 3."""
    result: Expression | None = expression
    for _ in range(exponent - 1):
        result = multiply(result, expression) if result is not None else None
    return result


def apply(function: Activation, operand: Expression, tensor: str) -> Expression:
    """A gate over an expression; tanh over softplus is a gate of its own, other gates over gates start afresh."""
    inner, bare = operand.gate, (operand.a, operand.b) == (ZERO, (1.0,))
    if inner is not None and bare and (function.kind, inner.function.kind) == ("tanh", "softplus"):
        return replace(operand, gate=Gate(TANH_SOFTPLUS, inner.arg, inner.input))
    return Expression(operand.root, operand.x, ZERO, (1.0,), Gate(function, operand.a, tensor), operand.nodes)


def same(left: Poly, right: Poly) -> bool:
    """Whether two polynomials agree within the precision of half-precision constants."""
    length = max(len(left), len(right))
    pairs = zip(_padded(left, length), _padded(right, length), strict=True)
    return all(math.isclose(p, q, rel_tol=TOLERANCE, abs_tol=1e-6) for p, q in pairs)


def _compatible(left: Expression, right: Expression) -> bool:
    return not left.root or not right.root or left.root == right.root


def _joined(left: Expression, right: Expression, a: Poly, b: Poly) -> Expression:
    base = left if left.root else right
    return Expression(base.root, base.x, a, b, left.gate or right.gate, left.nodes | right.nodes)


def _padded(poly: Poly, length: int) -> Poly:
    return poly + (0.0,) * (length - len(poly))


def _trimmed(poly: list[float]) -> Poly:
    while poly and poly[-1] == 0.0:
        poly.pop()
    return tuple(poly)


def _plus(left: Poly, right: Poly, sign: float) -> Poly:
    length = max(len(left), len(right))
    return _trimmed([p + sign * q for p, q in zip(_padded(left, length), _padded(right, length), strict=True)])


def _times(left: Poly, right: Poly) -> Poly:
    product = [0.0] * max(len(left) + len(right) - 1, 0)
    for i, p in enumerate(left):
        for j, q in enumerate(right):
            product[i + j] += p * q
    return _trimmed(product) if left and right else ZERO
