"""What a norm with running statistics does to its input in eval mode: y = scale * x + shift per channel."""

from __future__ import annotations

import numpy as np

from normdiag.records import NormLayer
from normdiag.records.model import Array

WHY_NOT_TRAINING = "it is in training mode: it normalizes with the statistics of the batch"
NOT_TOLD = "written as a scale and a shift; its statistics and eps are not told apart"


def eval_affine(layer: NormLayer) -> tuple[Array, Array] | str:
    """Scale and shift, float64 (C,), or the reason why there is no such pair.

    scale = gamma / sqrt(running_var + eps), shift = beta - scale * running_mean (Ioffe and Szegedy 2015, algorithm 2,
    step 11), where gamma and beta that the layer does not have are 1 and 0.
    """
    obstacle = _obstacle(layer)
    if obstacle:
        return obstacle
    mean, var = (np.asarray(values, np.float64) for values in (layer.running_mean, layer.running_var))
    gamma = np.ones_like(mean) if layer.gamma is None else np.asarray(layer.gamma, np.float64)
    beta = np.zeros_like(mean) if layer.beta is None else np.asarray(layer.beta, np.float64)
    scale = gamma / np.sqrt(var + (layer.eps or 0.0))
    return scale, beta - scale * mean


def _obstacle(layer: NormLayer) -> str | None:
    if layer.running_mean is None or layer.running_var is None:
        return "it has no running statistics: it normalizes with those of its input"
    if layer.training:
        return WHY_NOT_TRAINING
    if layer.eps is None:
        return "its eps is not in the file: give the code with --arch"
    for name in ("gamma", "beta", "running_mean", "running_var"):
        values = getattr(layer, name)
        if values is not None and not np.isfinite(values).all():
            return f"its {name} holds values that are not finite"
    if (np.asarray(layer.running_var, np.float64) < 0).any():
        return "its running variance is negative in some channels"
    zero = (np.asarray(layer.running_var, np.float64) + layer.eps <= 0).any()
    return "its running variance and eps are both zero in some channels" if zero else None
