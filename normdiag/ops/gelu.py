"""GELU: x Phi(x), Phi the distribution function of the standard normal distribution (Hendrycks and Gimpel 2016)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from normdiag.ops import numeric
from normdiag.ops.activation import Activation, Numbers
from normdiag.ops.expressions import HALF, Expression, Gate, Written, same
from normdiag.ops.function import Attributes, Floats, Function, Operator, TorchNames, plain

GELU = Activation("gelu")


def _distribution(x: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + numeric.erf(x * math.sqrt(0.5))))


def _derivative(_: Numbers, x: Floats) -> Floats:
    return _distribution(x) + x * numeric.normal_density(x)


def _torch(approximate: str = "none", *_: Any, **__: Any) -> Activation | None:
    return GELU if approximate == "none" else None


def _operator(node: Attributes) -> Activation | None:
    return GELU if node.text("approximate", "none") == "none" else None


def _gated(e: Expression, gate: Gate) -> Written | None:
    """x/2 + x/2 erf(x / sqrt 2)."""
    found = same(e.a, HALF) and same(e.b, HALF) and same(gate.arg, (0.0, math.sqrt(0.5)))
    return Written(GELU, e.x) if found else None


FUNCTION = Function(
    "gelu",
    value=lambda f, x: x * _distribution(x),
    derivative=_derivative,
    torch=(TorchNames(("gelu",), _torch, modules=("GELU",)),),
    onnx=(
        Operator("Gelu", _operator),
        Operator("Gelu", plain("gelu"), domain="com.microsoft"),
        Operator("BiasGelu", plain("gelu"), domain="com.microsoft", adds=True),
    ),
    written={"erf": _gated},
)
