"""ReLU6: max(0, min(6, x))."""

from __future__ import annotations

from typing import Any

import numpy as np

from normdiag.ops.activation import Activation
from normdiag.ops.function import Function, Pieces, TorchNames, plain


def _clamp(low: Any = None, high: Any = None, **more: Any) -> Activation | None:
    """ReLU6 is often written as a clamp; other bounds are rather a guard against overflow than an activation."""
    bounds = more.get("min", low), more.get("max", high)
    return RELU6 if bounds == (0, 6) else None


RELU6 = Activation("relu6", low=0.0, high=6.0)
FUNCTION = Function(
    "relu6",
    value=lambda f, x: np.clip(x, f.low, f.high),
    pieces=lambda f: Pieces(f.low, f.high),
    torch=(
        TorchNames(("relu6",), plain("relu6", low=0.0, high=6.0), modules=("ReLU6",)),
        TorchNames(("clamp", "clip"), _clamp),
    ),
    rectifies=True,
    clips=True,
)
