"""Which layers run in float16."""

from __future__ import annotations

import numpy as np

from normdiag.records import NormLayer, Report

# The largest number of float16.
LARGEST = 65504.0


def runs_in_half(layer: NormLayer, report: Report) -> bool:
    """Whether the model is declared for float16 or, where nothing is declared, the layer is stored in it."""
    if report.target is not None:
        return report.target == "fp16"
    tensors = (layer.gamma, layer.beta, layer.running_mean, layer.running_var)
    return any(tensor is not None and tensor.dtype == np.float16 for tensor in tensors)
