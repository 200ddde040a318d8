"""Clip: max(low, min(high, x)). With the bounds of a ReLU or ReLU6 it is one, whatever the model calls it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from normdiag.ops.activation import Activation, Numbers
from normdiag.ops.function import Attributes, Function, Operator, Pieces, TorchNames
from normdiag.ops.relu import RELU

# Exporters write 'no bound' as the largest float.
NO_BOUND = 1e37


def clip(low: float, high: float) -> Activation:
    """The function with these bounds."""
    low, high = (-math.inf if low < -NO_BOUND else low), (math.inf if high > NO_BOUND else high)
    if low == 0.0 and high in (6.0, math.inf):
        return Activation("relu6", low=0.0, high=6.0) if high == 6.0 else RELU
    return Activation("clip", low=float(low), high=float(high))


def _hardtanh(min_val: float = -1.0, max_val: float = 1.0, *_: Any, **__: Any) -> Activation:
    return clip(min_val, max_val)


def _operator(node: Attributes) -> Activation:
    return clip(node.number("min", -math.inf), node.number("max", math.inf))


def _guards(f: Numbers) -> bool:
    """Whether it only keeps values from getting out of hand, as max(x, 1e-12) does."""
    return not -math.inf < f.low <= 0.0 < f.high < math.inf


FUNCTION = Function(
    "clip",
    value=lambda f, x: np.clip(x, f.low, f.high),
    pieces=lambda f: Pieces(f.low, f.high),
    torch=(TorchNames(("hardtanh",), _hardtanh, modules=("Hardtanh",)),),
    onnx=(Operator("Clip", _operator, inputs=("min", "max")),),
    rectifies=True,
    clips=True,
    guards=_guards,
)
