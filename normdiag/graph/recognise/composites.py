"""Which activation an expression is (see expressions.py): the forms that exporters take activations apart into."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from normdiag.graph.recognise.expressions import ZERO, Expression, Gate, Poly, same

IDENTITY: Poly = (0.0, 1.0)
HALF: Poly = (0.0, 0.5)
_TANH_GELU: Poly = (0.0, math.sqrt(2 / math.pi), 0.0, math.sqrt(2 / math.pi) * 0.044715)


@dataclass(frozen=True)
class Composite:
    """The kind of an activation, the tensor that it is applied to, and its parameters."""

    kind: str
    input: str
    parameters: Mapping[str, float] = field(default_factory=dict)


def recognise(expression: Expression) -> Composite | None:
    """The activation that an expression is, None if it is none."""
    gate = expression.gate
    form = _FORMS.get(gate.name) if gate is not None else None
    return form(expression, gate) if form is not None and gate is not None else None


def _erf(e: Expression, gate: Gate) -> Composite | None:
    found = same(e.a, HALF) and same(e.b, HALF) and same(gate.arg, (0.0, math.sqrt(0.5)))
    return Composite("gelu", e.x) if found else None


def _tanh(e: Expression, gate: Gate) -> Composite | None:
    found = same(e.a, HALF) and same(e.b, HALF) and same(gate.arg, _TANH_GELU)
    return Composite("gelu_tanh", e.x) if found else None


def _sigmoid(e: Expression, gate: Gate) -> Composite | None:
    if e.a != ZERO:
        return None
    if same(e.b, gate.arg) and len(gate.arg) == 2:
        return Composite("silu", gate.input)
    scaled = same(e.b, IDENTITY) and len(gate.arg) == 2 and gate.arg[0] == 0.0
    return Composite("silu", e.x, {"alpha": gate.arg[1]}) if scaled else None


def _mish(e: Expression, gate: Gate) -> Composite | None:
    return Composite("mish", gate.input) if e.a == ZERO and len(e.b) == 2 and same(e.b, gate.arg) else None


def _hard_sigmoid(e: Expression, gate: Gate) -> Composite | None:
    """x * hard_sigmoid(x) with PyTorch's slope of 1/6."""
    found = e.a == ZERO and len(e.b) == 2 and same(e.b, gate.arg) and same((gate.low, gate.high), (1 / 6, 0.5))
    return Composite("hard_swish", gate.input) if found else None


def _clip(e: Expression, gate: Gate) -> Composite | None:
    """clip(x + 3, 0, 6) / 6, or clip(alpha x + beta, 0, 1), is a hard sigmoid; times x, a hard swish."""
    if e.a != ZERO or gate.low != 0.0 or len(gate.arg) != 2 or gate.high <= 0:
        return None
    scale = e.b[-1] * gate.high if e.b else 0.0
    beta, alpha = gate.arg[0] / gate.high, gate.arg[1] / gate.high
    if not math.isclose(scale, 1.0, rel_tol=2e-3) or not math.isclose(beta, 0.5, rel_tol=2e-3) or alpha <= 0:
        return None
    if len(e.b) == 1:
        return Composite("hard_sigmoid", e.x, {"alpha": alpha, "beta": 0.5})
    torch_like = math.isclose(alpha, 1 / 6, rel_tol=2e-3) and len(e.b) == 2 and e.b[0] == 0.0
    return Composite("hard_swish", e.x) if torch_like else None


_FORMS: Mapping[str, Callable[[Expression, Gate], Composite | None]] = {
    "erf": _erf,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "tanh_softplus": _mish,
    "hard_sigmoid": _hard_sigmoid,
    "clip": _clip,
}
