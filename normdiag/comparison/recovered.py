"""Norms that an exporter folded away, found again beside the weights from before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from normdiag.comparison.folded import USUAL_EPS, channel_rows, explained_by_folding
from normdiag.records import NormLayer
from normdiag.records.contents import LayerContents


@dataclass(frozen=True, eq=False)
class RecoveredNorm:
    """A norm that was folded into the linear layer with the weight `weight`.

    In that layer's output channel c stands `scale`[c] (x - mean) + beta, with x what had entered the norm. `layer` has
    the channels alone whose scale is not 0: `channels` are their indexes.
    """

    layer: NormLayer
    weight: str
    scale: NDArray[np.float64]
    channels: NDArray[np.intp]


def recovered_norms(exported: Sequence[LayerContents], plain: Sequence[LayerContents]) -> tuple[RecoveredNorm, ...]:
    """The norms of `plain` whose scale and shift are in the linear layers of `exported`, in their order.

    Layers are matched by their weights up to a scale for each output channel; each norm is used once.
    """
    left = [each for each in plain if each.norm is not None and each.norm.kind == "batch_norm"]
    found = []
    for layer in exported:
        for before in _candidates(layer, plain):
            norm = explained_by_folding(before, layer, left)
            if norm is not None and (recovered := _recovered(before, layer, norm)) is not None:
                found.append(recovered)
                left.remove(norm)
                break
    return tuple(found)


def _candidates(layer: LayerContents, plain: Sequence[LayerContents]) -> Iterator[LayerContents]:
    """Layers with weights of this shape that are others, those of the same name first."""
    if layer.norm is not None or len(layer.shape) < 2:
        return
    fitting = [each for each in plain if each.norm is None and each.shape == layer.shape]
    names = set(layer.names)
    yield from sorted(fitting, key=lambda each: names.isdisjoint(each.names))


def _recovered(before: LayerContents, after: LayerContents, found: LayerContents) -> RecoveredNorm | None:
    axis = 1 if "conv_transpose" in (before.kind, after.kind) else 0
    one, two = (channel_rows(each.tensors["weight"].read(), axis) for each in (before, after))
    norm, size = found.norm, (one * one).sum(1)
    if norm is None or norm.running_mean is None or norm.running_var is None:
        return None
    with np.errstate(all="ignore"):
        scale = (one * two).sum(1) / size
    kept = np.flatnonzero(np.isfinite(scale) & (scale != 0))
    if not len(kept):
        return None
    layer = replace(
        norm,
        eps=_eps(norm, scale[kept], kept),
        channels=len(kept),
        gamma=None if norm.gamma is None else norm.gamma[kept],
        beta=None if norm.beta is None else norm.beta[kept],
        running_mean=norm.running_mean[kept],
        running_var=norm.running_var[kept],
        notes=(),
    )
    return RecoveredNorm(layer, after.tensors["weight"].name, scale[kept], kept)


def _eps(norm: NormLayer, scale: NDArray[np.float64], kept: NDArray[np.intp]) -> float:
    """The layer's own or, where weights alone do not say it, what the scale tells: (gamma / scale)^2 - variance."""
    if norm.eps is not None:
        return norm.eps
    gamma = np.ones(len(kept)) if norm.gamma is None else norm.gamma[kept].astype(np.float64)
    told = (gamma / scale) ** 2 - np.asarray(norm.running_var)[kept].astype(np.float64)
    return max(float(np.median(told)), 0.0) if np.isfinite(told).all() else USUAL_EPS
