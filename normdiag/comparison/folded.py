"""Whether weights that differ are those of the other model with a normalization layer in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from normdiag.comparison.units import coarser, unit_roundoff
from normdiag.graph.eval_norm import eval_affine
from normdiag.records.contents import LayerContents
from normdiag.records.model import Array

# How many roundings a folded weight may have gone through, and how much cancellation in its shift.
ROUNDINGS = 64
USUAL_EPS = 1e-5


def explained_by_folding(
    plain: LayerContents, folded: LayerContents, norms: Sequence[LayerContents]
) -> LayerContents | None:
    """The norm among `norms` whose scale and shift turn the weights and bias of `plain` into those of `folded`."""
    if plain.norm is not None or "weight" not in plain.tensors or "weight" not in folded.tensors:
        return None
    before, after = plain.tensors["weight"], folded.tensors["weight"]
    if before.shape != after.shape or len(before.shape) < 2:
        return None
    axis = 1 if "conv_transpose" in (plain.kind, folded.kind) else 0
    one, two = (channel_rows(each.read(), axis) for each in (before, after))
    tolerance = ROUNDINGS * unit_roundoff(coarser(before.dtype, after.dtype))
    with np.errstate(all="ignore"):
        ratio = np.sqrt(np.sum(two**2, axis=1) / np.sum(one**2, axis=1))
    for norm in norms:
        affine = _affine(norm, ratio)
        if affine is None:
            continue
        scale, shift = affine
        made = scale * _bias(plain) + shift
        if _near(made, _bias(folded), tolerance) and _near(scale[:, None] * one, two, tolerance):
            return norm
    return None


def channel_rows(weight: Array, axis: int) -> Array:
    """One row of float64 for each output channel."""
    return np.moveaxis(weight.astype(np.float64), axis, 0).reshape(weight.shape[axis], -1)


def _affine(layer: LayerContents, ratio: Array) -> tuple[Array, Array] | None:
    """Scale and shift of a norm in eval mode; None for one that cannot be what weights grew by `ratio`, (channels,).

    Of one that does not say its eps, with the eps that the ratio tells: (gamma / ratio)^2 - variance.
    """
    norm = layer.norm
    if norm is None or norm.running_var is None or len(norm.running_var) != len(ratio):
        return None
    if norm.eps is None:
        gamma = 1.0 if norm.gamma is None else norm.gamma.astype(np.float64)
        with np.errstate(all="ignore"):
            told = (gamma / ratio) ** 2 - norm.running_var.astype(np.float64)
        eps = float(np.median(told[np.isfinite(told)])) if np.isfinite(told).any() else USUAL_EPS
        norm = replace(norm, eps=max(eps, 0.0))
    found = eval_affine(replace(norm, training=False))
    if isinstance(found, str) or not np.allclose(np.abs(found[0]), ratio, rtol=1e-2, atol=1e-3 * np.nanmax(ratio)):
        return None
    return found


def _bias(layer: LayerContents) -> Array:
    bias = layer.tensors.get("bias")
    return np.zeros(1) if bias is None else bias.read().astype(np.float64)


def _near(made: Array, found: Array, tolerance: float) -> bool:
    size = max(float(np.max(np.abs(found))), float(np.max(np.abs(made))))
    return bool(np.isfinite(size)) and float(np.max(np.abs(made - found))) <= tolerance * size
