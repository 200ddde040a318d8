"""PReLU: leaky ReLU whose slope, one for each channel or one for all, is a parameter of the model.

Only graphs know it: its slope is a tensor (`Pointwise.slope`) and not one of a function's numbers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from normdiag.ops.function import Function, Operator, Pieces, TorchNames


def _unread(*_: Any, **__: Any) -> None:
    """Not counted."""


FUNCTION = Function(
    "prelu",
    value=lambda f, x: np.where(x > 0, x, f.alpha * x),
    pieces=lambda f: Pieces(0.0, math.inf, outside=f.alpha),
    torch=(TorchNames(("prelu", "_prelu_kernel"), _unread),),
    onnx=(Operator("PRelu", _unread),),
    homogeneous=True,
)
