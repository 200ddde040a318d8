"""Watching LayerNorm, RMSNorm, GroupNorm and InstanceNorm: the variance of every group that they normalize over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from normdiag.models.onnx import NormSite
from normdiag.observe.onnx.channels import norm_input
from normdiag.observe.onnx.edit import GraphEdit
from normdiag.observe.onnx.session import TensorType, Values
from normdiag.records import GroupSums, Span


@dataclass(frozen=True, eq=False)
class GroupWatch:
    """Names of the graph outputs that hold, of a layer's input x, the `shape` (with C on `axis`), the `variance` of
    every group (RMSNorm: mean square), the sums of x^2 per channel in `squares` (any number of rows of C), and its
    `highest` and `lowest` value.
    """

    site: NormSite
    axis: int
    shape: str
    variance: str
    squares: str
    highest: str
    lowest: str

    @property
    def outputs(self) -> tuple[str, ...]:
        """All graph outputs to fetch."""
        return (self.shape, self.variance, self.squares, self.highest, self.lowest)

    def sums(self, values: Values, span: Span) -> GroupSums:
        """What the groups of a batch at `span` in the data looked like."""
        shape, variance = values[self.shape], values[self.variance]
        channels, size = int(shape[self.axis]), int(np.prod(shape))
        squares = values[self.squares].astype(np.float64).reshape(-1, channels)
        extremes = float(values[self.highest].max()), float(values[self.lowest].min())
        return GroupSums.of(
            variance,
            squares,
            group_size=size // max(variance.size, 1),
            channel_count=size // max(channels, 1),
            abs_max=float(np.abs(extremes).max()),
            span=span,
        )


def obstacle(site: NormSite, kind: TensorType) -> str | None:
    """Why a layer cannot be watched, or None."""
    rank = site.rank if kind.rank is None else kind.rank
    return "the rank of its input is unknown" if rank is None else None


def watch_groups(edit: GraphEdit, site: NormSite, kind: TensorType) -> GroupWatch:
    """Add the moments of the groups before the first node of the layer."""
    x, rank = norm_input(edit, site, kind)
    assert rank is not None  # `obstacle` has seen to it
    axis = site.channel_axis % rank
    square = edit.node("Mul", x, x)
    shape = edit.output(edit.node("Shape", x))
    squares = edit.output(_per_channel(edit, square, rank, axis))
    highest, lowest = (edit.output(edit.reduce(op, x, range(rank), keepdims=True)) for op in ("ReduceMax", "ReduceMin"))
    if site.layer.kind == "rms_norm":
        variance = edit.reduce("ReduceMean", square, _axes(site, rank))
    else:
        variance = _variance(edit, *_grouped(edit, site, x, rank, axis))
    return GroupWatch(site, axis, shape, edit.output(variance), squares, highest, lowest)


def _axes(site: NormSite, rank: int) -> list[int]:
    return [axis % rank for axis in site.axes]


def _grouped(edit: GraphEdit, site: NormSite, x: str, rank: int, axis: int) -> tuple[str, list[int]]:
    """The tensor in a shape where a group spans whole axes, and those axes."""
    if site.axes:
        return x, _axes(site, rank)
    if axis != 1:
        x = edit.node("Transpose", x, perm=[0, axis, *(a for a in range(1, rank) if a != axis)])
    groups = site.layer.groups if site.layer.kind == "group_norm" else None
    return edit.reshape(x, (0, groups or 0, -1)), [2]


def _variance(edit: GraphEdit, x: str, axes: list[int]) -> str:
    """Mean of (x - mean)^2 over the axes: exact where the mean is large, unlike a difference of moments."""
    centered = edit.node("Sub", x, edit.reduce("ReduceMean", x, axes, keepdims=True))
    return edit.reduce("ReduceMean", edit.node("Mul", centered, centered), axes)


def _per_channel(edit: GraphEdit, x: str, rank: int, axis: int) -> str:
    """Sums over every axis but the samples' and the channels'."""
    axes = [each for each in range(1, rank) if each != axis]
    return edit.reduce("ReduceSum", x, axes) if axes else x
