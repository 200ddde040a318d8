"""Hard swish: x hard_sigmoid(x) with a slope of 1/6."""

from __future__ import annotations

import math

import numpy as np

from normdiag.ops.activation import Activation, Numbers
from normdiag.ops.expressions import ZERO, Expression, Gate, Written, same
from normdiag.ops.function import Floats, Function, Operator, Tails, TorchNames, plain
from normdiag.ops.hard_sigmoid import unit_clip

HARD_SWISH = Activation("hard_swish")


def _derivative(_: Numbers, x: Floats) -> Floats:
    return np.where(x >= 3.0, 1.0, (2.0 * x + 3.0) / 6.0) * (x > -3.0)


def _gated(e: Expression, gate: Gate) -> Written | None:
    """x * hard_sigmoid(x) with PyTorch's slope of 1/6."""
    given = gate.function.alpha, gate.function.beta
    found = e.a == ZERO and len(e.b) == 2 and same(e.b, gate.arg) and same(given, (1 / 6, 0.5))
    return Written(HARD_SWISH, gate.input) if found else None


def _clipped(e: Expression, gate: Gate) -> Written | None:
    """x * clip(x + 3, 0, 6) / 6."""
    factor = unit_clip(e, gate)
    if factor is None or len(e.b) != 2 or e.b[0] != 0.0 or not math.isclose(factor.alpha, 1 / 6, rel_tol=2e-3):
        return None
    return Written(HARD_SWISH, e.x)


FUNCTION = Function(
    "hard_swish",
    value=lambda f, x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    derivative=_derivative,
    tails=lambda f, threshold: Tails(-3.0, math.inf, closed=True),
    torch=(TorchNames(("hardswish",), plain("hard_swish"), modules=("Hardswish",)),),
    onnx=(Operator("HardSwish", plain("hard_swish")),),
    written={"hard_sigmoid": _gated, "clip": _clipped},
)
