"""SELU: beta elu(x) with constants that keep mean 0 and variance 1 (Klambauer et al. 2017)."""

from __future__ import annotations

import math
from typing import Any

from normdiag.ops.activation import Activation
from normdiag.ops.elu import elu, elu_derivative, elu_tails
from normdiag.ops.function import Attributes, Function, Operator, TorchNames, plain

ALPHA = 1.6732632423543772
SCALE = 1.0507009873554805


def _scaled_elu(alpha: float = 1.0, scale: float = 1.0, *_: Any, **__: Any) -> Activation | None:
    """aten.elu with SELU's scale, which is what TorchScript calls."""
    return Activation("selu", alpha, SCALE) if math.isclose(scale, SCALE, rel_tol=1e-6) else None


def _operator(node: Attributes) -> Activation:
    return Activation("selu", node.number("alpha", 1.6732632), node.number("gamma", 1.050701))


FUNCTION = Function(
    "selu",
    value=lambda f, x: f.beta * elu(f.alpha, x),
    derivative=lambda f, x: f.beta * elu_derivative(f.alpha, x),
    tails=lambda f, threshold: elu_tails(f.alpha, threshold),
    torch=(
        TorchNames(("selu",), plain("selu", alpha=ALPHA, beta=SCALE), modules=("SELU",)),
        TorchNames(("elu",), _scaled_elu),
    ),
    onnx=(Operator("Selu", _operator),),
)
