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
    weights = [np.moveaxis(each.read().astype(np.float64), axis, 0) for each in (before, after)]
    tolerance = ROUNDINGS * unit_roundoff(coarser(before.dtype, after.dtype))
    for norm in norms:
        affine = _affine(norm)
        if affine is None or len(affine[0]) != len(weights[0]):
            continue
        scale, shift = affine
        made = scale.reshape(-1, *[1] * (weights[0].ndim - 1)) * weights[0]
        if _near(made, weights[1], tolerance) and _near(scale * _bias(plain) + shift, _bias(folded), tolerance):
            return norm
    return None


def _affine(layer: LayerContents) -> tuple[Array, Array] | None:
    """Scale and shift of a norm in eval mode; of one that does not say its eps, with PyTorch's default."""
    if layer.norm is None:
        return None
    found = eval_affine(replace(layer.norm, eps=USUAL_EPS) if layer.norm.eps is None else layer.norm)
    return None if isinstance(found, str) else found


def _bias(layer: LayerContents) -> Array:
    bias = layer.tensors.get("bias")
    return np.zeros(1) if bias is None else bias.read().astype(np.float64)


def _near(made: Array, found: Array, tolerance: float) -> bool:
    size = max(float(np.max(np.abs(found))), float(np.max(np.abs(made))))
    return bool(np.isfinite(size)) and float(np.max(np.abs(made - found))) <= tolerance * size
