"""GELU with its distribution function replaced by a tanh: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from normdiag.ops.activation import Activation, Numbers
from normdiag.ops.expressions import HALF, Expression, Gate, Poly, Written, same
from normdiag.ops.function import Attributes, Floats, Function, Operator, TorchNames, plain

GELU_TANH = Activation("gelu_tanh")
C, CUBIC = math.sqrt(2.0 / math.pi), 0.044715
_INSIDE: Poly = (0.0, C, 0.0, C * CUBIC)


def _tanh(x: Floats) -> Floats:
    return np.asarray(np.tanh(C * (x + CUBIC * x**3)))


def _derivative(_: Numbers, x: Floats) -> Floats:
    t = _tanh(x)
    return np.asarray(0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * C * (1.0 + 3.0 * CUBIC * x * x))


def _torch(approximate: str = "none", *_: Any, **__: Any) -> Activation | None:
    return GELU_TANH if approximate == "tanh" else None


def _operator(node: Attributes) -> Activation | None:
    return GELU_TANH if node.text("approximate", "none") == "tanh" else None


def _gated(e: Expression, gate: Gate) -> Written | None:
    found = same(e.a, HALF) and same(e.b, HALF) and same(gate.arg, _INSIDE)
    return Written(GELU_TANH, e.x) if found else None


FUNCTION = Function(
    "gelu_tanh",
    value=lambda f, x: 0.5 * x * (1.0 + _tanh(x)),
    derivative=_derivative,
    torch=(TorchNames(("gelu",), _torch),),
    onnx=(Operator("Gelu", _operator), Operator("FastGelu", plain("gelu_tanh"), domain="com.microsoft", adds=True)),
    written={"tanh": _gated},
)
