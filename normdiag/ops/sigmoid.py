"""Sigmoid: 1 / (1 + e^-x)."""

from __future__ import annotations

import math

from normdiag.ops import numeric
from normdiag.ops.activation import Numbers
from normdiag.ops.function import Floats, Function, Operator, Tails, TorchNames, plain


def _derivative(_: Numbers, x: Floats) -> Floats:
    """Without cancellation where 1 - sigmoid(x) is small."""
    return numeric.sigmoid(x) * numeric.sigmoid(-x)


def _tails(_: Numbers, threshold: float) -> Tails:
    """f'(x) is sech^2(x/2) / 4."""
    edge = 2.0 * math.acosh(1.0 / math.sqrt(threshold))
    return Tails(-edge, edge)


FUNCTION = Function(
    "sigmoid",
    value=lambda f, x: numeric.sigmoid(x),
    derivative=_derivative,
    tails=_tails,
    torch=(TorchNames(("sigmoid", "expit"), plain("sigmoid"), modules=("Sigmoid",)),),
    onnx=(
        Operator("Sigmoid", plain("sigmoid")),
        Operator("QLinearSigmoid", plain("sigmoid"), domain="com.microsoft", quantized=True),
    ),
    s_slope=0.25,
)
