"""What an activation is, in every framework: one file per function. Nothing else in the package lists them.

A module of this folder that defines FUNCTION is in the registry; frameworks appear as names only.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from numpy.typing import NDArray

from normdiag.ops.activation import Activation, Numbers
from normdiag.ops.expressions import Expression, Written
from normdiag.ops.function import (
    SATURATION_THRESHOLD,
    Attributes,
    Floats,
    Function,
    Operator,
    Pieces,
    Tails,
    TorchNames,
)

__all__ = [
    "FUNCTIONS",
    "SATURATION_THRESHOLD",
    "Activation",
    "Attributes",
    "Expression",
    "Floats",
    "Function",
    "Numbers",
    "Operator",
    "Pieces",
    "Tails",
    "TorchNames",
    "Written",
    "derivative",
    "recognise",
    "tails",
]


def _registered() -> Iterator[Function]:
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        function = getattr(import_module(module.name), "FUNCTION", None)
        if function is not None:
            yield function


FUNCTIONS = {function.kind: function for function in _registered()}


@cache
def tails(activation: Activation, threshold: float = SATURATION_THRESHOLD) -> Tails:
    """The saturated tails of an activation for a threshold in (0, 1) on |f'| / max|f'|."""
    return FUNCTIONS[activation.kind].saturated(activation, threshold)


def derivative(activation: Activation, x: NDArray[Any]) -> Floats:
    """f'(x) in float64, elementwise; at corners that of the flatter side, as PyTorch defines it."""
    return FUNCTIONS[activation.kind].derivative_at(activation, x)


def recognise(expression: Expression) -> Written | None:
    """The activation that an expression is, None if it is none."""
    gate = expression.gate
    if gate is None:
        return None
    forms = (function.written.get(gate.function.kind) for function in FUNCTIONS.values())
    return next((found for form in forms if form is not None and (found := form(expression, gate))), None)
