"""Hyperbolic tangent."""

from __future__ import annotations

import math

import numpy as np

from normdiag.ops.activation import Numbers
from normdiag.ops.function import Floats, Function, Operator, Tails, TorchNames, plain


def _derivative(_: Numbers, x: Floats) -> Floats:
    """sech^2(x)."""
    return np.asarray(1.0 / np.cosh(np.clip(x, -350.0, 350.0)) ** 2)


def _tails(_: Numbers, threshold: float) -> Tails:
    edge = math.acosh(1.0 / math.sqrt(threshold))
    return Tails(-edge, edge)


FUNCTION = Function(
    "tanh",
    value=lambda f, x: np.tanh(x),
    derivative=_derivative,
    tails=_tails,
    torch=(TorchNames(("tanh",), plain("tanh"), modules=("Tanh",)),),
    onnx=(Operator("Tanh", plain("tanh")),),
    s_slope=1.0,
)
