"""Mish: x tanh(softplus(x))."""

from __future__ import annotations

import numpy as np

from normdiag.ops import numeric
from normdiag.ops.activation import Activation, Numbers
from normdiag.ops.expressions import ZERO, Expression, Gate, Written, same
from normdiag.ops.function import Floats, Function, Operator, TorchNames, plain


def _derivative(_: Numbers, x: Floats) -> Floats:
    t = np.tanh(np.logaddexp(0.0, x))
    return np.asarray(t + x * numeric.sigmoid(x) * (1.0 - t * t))


def _gated(e: Expression, gate: Gate) -> Written | None:
    found = e.a == ZERO and len(e.b) == 2 and same(e.b, gate.arg)
    return Written(Activation("mish"), gate.input) if found else None


FUNCTION = Function(
    "mish",
    value=lambda f, x: x * np.tanh(np.logaddexp(0.0, x)),
    derivative=_derivative,
    torch=(TorchNames(("mish",), plain("mish"), modules=("Mish",)),),
    onnx=(Operator("Mish", plain("mish")),),
    written={"tanh_softplus": _gated},
)
