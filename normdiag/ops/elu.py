"""ELU: x where positive, else alpha (e^x - 1)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from normdiag.ops.activation import Activation
from normdiag.ops.function import Attributes, Floats, Function, Operator, Tails, TorchNames


def elu(alpha: float, x: Floats) -> Floats:
    """Its values."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def elu_derivative(alpha: float, x: Floats) -> Floats:
    """Its slopes; at 0 that of the left side, as PyTorch has it."""
    return np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0.0)))


def elu_tails(alpha: float, threshold: float) -> Tails:
    """Where alpha e^x = threshold * max(1, alpha), the steepest slope."""
    return Tails(math.log(threshold * max(1.0, alpha) / alpha)) if alpha > 0 else Tails()


def _torch(alpha: float = 1.0, scale: float = 1.0, *_: Any, **__: Any) -> Activation | None:
    """F.elu has `inplace` where aten.elu has the scale."""
    return Activation("elu", alpha=float(alpha)) if scale in (False, True, 1) else None


def _operator(node: Attributes) -> Activation:
    return Activation("elu", alpha=node.number("alpha", 1.0))


FUNCTION = Function(
    "elu",
    value=lambda f, x: elu(f.alpha, x),
    derivative=lambda f, x: elu_derivative(f.alpha, x),
    tails=lambda f, threshold: elu_tails(f.alpha, threshold),
    torch=(TorchNames(("elu",), _torch, modules=("ELU",)),),
    onnx=(Operator("Elu", _operator),),
)
