"""Leaky ReLU: x where positive, else alpha x."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from normdiag.ops.activation import Activation
from normdiag.ops.function import Attributes, Function, Operator, Pieces, TorchNames


def _torch(negative_slope: float = 0.01, *_: Any, **__: Any) -> Activation:
    return Activation("leaky_relu", alpha=float(negative_slope))


def _operator(node: Attributes) -> Activation:
    return Activation("leaky_relu", alpha=node.number("alpha", 0.01))


FUNCTION = Function(
    "leaky_relu",
    value=lambda f, x: np.where(x > 0, x, f.alpha * x),
    pieces=lambda f: Pieces(0.0, math.inf, outside=f.alpha),
    torch=(TorchNames(("leaky_relu",), _torch, modules=("LeakyReLU",)),),
    onnx=(
        Operator("LeakyRelu", _operator),
        Operator("QLinearLeakyRelu", _operator, domain="com.microsoft", quantized=True),
    ),
    rectifies=True,
    homogeneous=True,
)
