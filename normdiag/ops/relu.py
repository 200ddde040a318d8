"""ReLU: max(x, 0)."""

from __future__ import annotations

import math

import numpy as np

from normdiag.ops.activation import Activation
from normdiag.ops.function import Function, Operator, Pieces, TorchNames, plain

RELU = Activation("relu", low=0.0)
FUNCTION = Function(
    "relu",
    value=lambda f, x: np.maximum(x, 0.0),
    pieces=lambda f: Pieces(0.0, math.inf),
    torch=(TorchNames(("relu",), plain("relu", low=0.0), modules=("ReLU",)),),
    onnx=(Operator("Relu", plain("relu", low=0.0)),),
    rectifies=True,
    homogeneous=True,
    clips=True,
)
