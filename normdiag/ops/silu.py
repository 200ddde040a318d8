"""SiLU, or swish: x sigmoid(alpha x). With alpha = 1.702 it is known as quick GELU."""

from __future__ import annotations

import numpy as np

from normdiag.ops import numeric
from normdiag.ops.activation import Activation, Numbers
from normdiag.ops.expressions import IDENTITY, ZERO, Expression, Gate, Written, same
from normdiag.ops.function import Attributes, Floats, Function, Operator, Tails, TorchNames, plain, searched_tails

QUICK_GELU = 1.702


def _derivative(f: Numbers, x: Floats) -> Floats:
    """f(x) = silu(alpha x) / alpha."""
    return _slope(f.alpha * x)


def _slope(x: Floats) -> Floats:
    return np.asarray(numeric.sigmoid(x) * (1.0 + x * numeric.sigmoid(-x)))


def _tails(f: Numbers, threshold: float) -> Tails:
    if f.alpha == 0.0:
        return Tails()
    edge = searched_tails(_slope, threshold).lower / f.alpha
    return Tails(lower=edge) if f.alpha > 0 else Tails(upper=edge)


def _swish(node: Attributes) -> Activation:
    return Activation("silu", alpha=node.number("alpha", 1.0))


def _quick_gelu(node: Attributes) -> Activation:
    return Activation("silu", alpha=node.number("alpha", QUICK_GELU))


def _gated(e: Expression, gate: Gate) -> Written | None:
    """u * sigmoid(u), or x * sigmoid(alpha x)."""
    if e.a != ZERO or len(gate.arg) != 2:
        return None
    if same(e.b, gate.arg):
        return Written(Activation("silu"), gate.input)
    scaled = same(e.b, IDENTITY) and gate.arg[0] == 0.0
    return Written(Activation("silu", alpha=gate.arg[1]), e.x) if scaled else None


FUNCTION = Function(
    "silu",
    value=lambda f, x: x * numeric.sigmoid(f.alpha * x),
    derivative=_derivative,
    tails=_tails,
    torch=(TorchNames(("silu",), plain("silu"), modules=("SiLU",)),),
    onnx=(Operator("Swish", _swish), Operator("QuickGelu", _quick_gelu, domain="com.microsoft")),
    written={"sigmoid": _gated},
)
