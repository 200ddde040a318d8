"""Hard sigmoid: max(0, min(1, alpha x + beta)); PyTorch's slope is 1/6, that of ONNX and Keras 1/5."""

from __future__ import annotations

import math

import numpy as np

from normdiag.ops.activation import Activation, Numbers
from normdiag.ops.expressions import ZERO, Expression, Gate, Written
from normdiag.ops.function import Attributes, Function, Operator, Pieces, TorchNames, plain


def _pieces(f: Numbers) -> Pieces:
    ends = sorted((-f.beta / f.alpha, (1.0 - f.beta) / f.alpha))
    return Pieces(ends[0], ends[1], inside=f.alpha)


def _operator(node: Attributes) -> Activation:
    return Activation("hard_sigmoid", node.number("alpha", 0.2), node.number("beta", 0.5))


def _clipped(e: Expression, gate: Gate) -> Written | None:
    """clip(x + 3, 0, 6) / 6, or clip(alpha x + 1/2, 0, 1)."""
    numbers = unit_clip(e, gate)
    return Written(numbers, e.x) if numbers is not None and len(e.b) == 1 else None


def unit_clip(e: Expression, gate: Gate) -> Activation | None:
    """The hard sigmoid that a clip from 0 is, up to what it is multiplied with: the last factor of `e` makes it 1."""
    clip = gate.function
    if e.a != ZERO or clip.low != 0.0 or len(gate.arg) != 2 or not 0 < clip.high < math.inf or not e.b:
        return None
    beta, alpha = gate.arg[0] / clip.high, gate.arg[1] / clip.high
    fits = math.isclose(e.b[-1] * clip.high, 1.0, rel_tol=2e-3) and math.isclose(beta, 0.5, rel_tol=2e-3)
    return Activation("hard_sigmoid", alpha, 0.5) if fits and alpha > 0 else None


FUNCTION = Function(
    "hard_sigmoid",
    value=lambda f, x: np.clip(f.alpha * x + f.beta, 0.0, 1.0),
    pieces=_pieces,
    torch=(TorchNames(("hardsigmoid",), plain("hard_sigmoid", alpha=1.0 / 6.0, beta=0.5), modules=("Hardsigmoid",)),),
    onnx=(Operator("HardSigmoid", _operator),),
    written={"clip": _clipped},
    s_slope=1.0 / 6.0,  # as PyTorch has it
)
