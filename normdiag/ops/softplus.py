"""Softplus: log(1 + e^(alpha x)) / alpha."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from normdiag.ops import numeric
from normdiag.ops.activation import Activation, Numbers
from normdiag.ops.function import Function, Operator, Tails, TorchNames, plain


def _tails(f: Numbers, threshold: float) -> Tails:
    """Where sigmoid(alpha x) = threshold."""
    return Tails(math.log(threshold / (1.0 - threshold)) / f.alpha)


def _torch(beta: float = 1.0, *_: Any, **__: Any) -> Activation:
    return Activation("softplus", alpha=float(beta))


FUNCTION = Function(
    "softplus",
    value=lambda f, x: np.logaddexp(0.0, f.alpha * x) / f.alpha,
    derivative=lambda f, x: numeric.sigmoid(f.alpha * x),
    tails=_tails,
    torch=(TorchNames(("softplus",), _torch, modules=("Softplus",)),),
    onnx=(Operator("Softplus", plain("softplus")),),
)
