"""What each kind of normalization computes, in float64: to try which of them a layer has computed.

`x` is (N, C, *positions), or (..., C) where the trailing axes are normalized. Sources: Ioffe and Szegedy 2015
(BatchNorm), Ulyanov et al. 2016 (InstanceNorm), Wu and He 2018 (GroupNorm), Ba et al. 2016 (LayerNorm), Zhang and
Sennrich 2019 (RMSNorm).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from normdiag.records import NormLayer
from normdiag.records.model import Array

USUAL_EPS = 1e-5


def normalized(x: Array, layer: NormLayer, eps: float | None = None) -> Array | None:
    """What the layer gives in eval mode, with another eps where one is given; None where it cannot be said."""
    layer = layer if eps is None else replace(layer, eps=eps)
    if layer.kind in ("batch_norm", "instance_norm") and layer.has_statistics and not layer.training:
        return with_stored_statistics(x, layer)
    if layer.kind == "batch_norm":
        return with_batch_statistics(x, layer)
    if layer.kind == "instance_norm":
        return in_groups(x, layer, x.shape[1])
    if layer.kind == "group_norm" and layer.groups:
        return in_groups(x, layer, layer.groups)
    return over_trailing_axes(x, layer) if layer.kind in ("layer_norm", "rms_norm") else None


def with_stored_statistics(x: Array, layer: NormLayer) -> Array | None:
    """With the running statistics."""
    if layer.running_mean is None or layer.running_var is None or x.shape[1:2] != layer.running_mean.shape:
        return None
    mean, var = (_channel(each, x) for each in (layer.running_mean, layer.running_var))
    return _affine((x - mean) / np.sqrt(np.maximum(var + _eps(layer), 0)), layer)


def with_batch_statistics(x: Array, layer: NormLayer) -> Array | None:
    """With mean and variance of the batch, over samples and positions."""
    return _over(x, (0, *range(2, x.ndim)), layer)


def in_groups(x: Array, layer: NormLayer, groups: int) -> Array | None:
    """With those of each sample and group of channels; as many groups as channels are InstanceNorm."""
    if x.ndim < 2 or not groups or x.shape[1] % groups:
        return None
    grouped = x.reshape(x.shape[0], groups, -1)
    mean, var = grouped.mean(2, keepdims=True), grouped.var(2, keepdims=True)
    return _affine(((grouped - mean) / np.sqrt(var + _eps(layer))).reshape(x.shape), layer)


def over_trailing_axes(x: Array, layer: NormLayer) -> Array | None:
    """With those of the last axes, which have the shape of gamma; RMSNorm subtracts no mean."""
    rank = layer.normalized_rank or (1 if layer.gamma is None else layer.gamma.ndim)
    axes = tuple(range(x.ndim - rank, x.ndim))
    if rank > x.ndim:
        return None
    centred = x if layer.kind == "rms_norm" else x - x.mean(axes, keepdims=True)
    scaled = centred / np.sqrt(np.mean(centred**2, axes, keepdims=True) + _eps(layer))
    for values, plus in ((layer.gamma, False), (layer.beta, True)):
        if values is not None:
            if math.prod(values.shape) != math.prod(x.shape[x.ndim - rank :]):
                return None
            wide = values.astype(np.float64).reshape(x.shape[x.ndim - rank :])
            scaled = np.add(scaled, wide) if plus else np.multiply(scaled, wide)
    return np.asarray(scaled)


def _over(x: Array, axes: tuple[int, ...], layer: NormLayer) -> Array | None:
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return _affine((x - mean) / np.sqrt(var + _eps(layer)), layer)


def _affine(scaled: Array, layer: NormLayer) -> Array | None:
    for values, plus in ((layer.gamma, False), (layer.beta, True)):
        if values is not None:
            if values.size not in (1, scaled.shape[1]):
                return None
            scaled = scaled + _channel(values, scaled) if plus else scaled * _channel(values, scaled)
    return scaled


def _channel(values: Array, x: Array) -> Array:
    return values.astype(np.float64).reshape(1, -1, *[1] * (x.ndim - 2))


def _eps(layer: NormLayer) -> float:
    return USUAL_EPS if layer.eps is None else layer.eps
