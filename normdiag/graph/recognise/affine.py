"""Which constants can be the gamma or beta of a decomposed normalization: their shape decides."""

from __future__ import annotations

from typing import Literal

from normdiag.graph.recognise.terms import Normal
from normdiag.records.model import Array

Placement = Literal["axes", "channel"]


def fits(array: Array | None, term: Normal, rank: int | None) -> bool:
    """Whether a constant broadcasts against a normalized tensor as its gamma or beta would."""
    if array is None or array.dtype.kind not in "fV":
        return False
    if term.groups is not None:
        channel = 1 if term.grouped_axis == 1 else (rank or 0) - 1
        return rank is not None and array.size % term.groups == 0 and varying_axes(array, rank) == [channel]
    return placement(array, term.span.axes, rank) is not None


def placement(array: Array, axes: tuple[int, ...], rank: int | None) -> Placement | None:
    """'axes' if it varies along normalized axes only (LayerNorm), 'channel' if along axis 1 or the last one only."""
    if rank is None and min(axes) >= 0:
        rank = array.ndim if array.ndim > max(axes) else None
        if rank is None:
            return None
    varying = varying_axes(array, 0 if rank is None else rank)
    if not varying or (rank is not None and array.ndim > rank):
        return None
    if set(varying) <= set(axes):
        return "axes"
    alone = len(varying) == 1 and rank is not None and varying[0] in (1, rank - 1)
    return "channel" if alone and varying[0] not in axes else None


def varying_axes(array: Array, rank: int) -> list[int]:
    """The axes along which an array is longer than 1, counted in a tensor of that rank (0: from the end)."""
    return [rank - array.ndim + i for i, size in enumerate(array.shape) if size > 1]
