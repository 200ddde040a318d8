"""Watching points: moments per sample and channel of what enters norms and activations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from normdiag.models.onnx import ActivationSite, NormSite
from normdiag.observe.onnx.channels import activation_input, centred, lost_digits, moments, norm_input, wide
from normdiag.observe.onnx.edit import GraphEdit
from normdiag.observe.onnx.session import TensorType, Values
from normdiag.observe.points import table_sums
from normdiag.records import Point, PointSums, Span


@dataclass(frozen=True, eq=False)
class PointWatch:
    """Names of the graph outputs that hold, of a point's tensor x, `mean` and `square` (N, C): per sample the means of
    (x - shift) and (x - shift)^2; and `shift` (C,) where one was subtracted.
    """

    point: Point
    mean: str
    square: str
    shift: str | None

    @property
    def name(self) -> str:
        """By which it is shifted."""
        return shift_name(self.point)

    @property
    def outputs(self) -> tuple[str, ...]:
        """All graph outputs to fetch."""
        return tuple(name for name in (self.mean, self.square, self.shift) if name is not None)

    def sums(self, values: Values, span: Span) -> PointSums:
        """The sums about the batch's mean."""
        mean = values[self.mean]
        shift = np.zeros(mean.shape[1]) if self.shift is None else values[self.shift].astype(np.float64)
        return table_sums(mean, values[self.square], 1, shift, span)

    def lost_digits(self, values: Values) -> bool:
        """Whether the data's mean was so large beside its variance that unshifted sums lost digits."""
        return self.shift is None and lost_digits(values[self.mean], values[self.square], 0.0)


@dataclass(frozen=True)
class LinearOutput:
    """What a linear layer puts out: the `tensor`, with its channels on `axis`, which the node `node` writes."""

    point: Point
    tensor: str
    axis: int
    rank: int | None
    node: int


def watch_output(edit: GraphEdit, output: LinearOutput, kind: TensorType, shifted: frozenset[str]) -> PointWatch:
    """Add the moments of what a linear layer puts out."""
    edit.slot = output.node + 1
    x, rank = wide(edit, output.tensor, kind)
    return _watch(edit, output.point, x, output.rank if rank is None else rank, output.axis, shifted)


def shift_name(point: Point) -> str:
    """The name of a point among what may need a shift; a layer and an activation may share theirs."""
    return f"{point.role} {point.name}"


def watch_norm(edit: GraphEdit, site: NormSite, kind: TensorType, shifted: frozenset[str]) -> PointWatch:
    """Add the moments of what enters a normalization layer."""
    x, rank = norm_input(edit, site, kind)
    axis = site.channel_axis
    if (site.layer.normalized_rank or 1) > 1 and rank is not None:
        axis = rank - (site.layer.normalized_rank or 1)
    return _watch(edit, Point("norm", site.layer.name, site.layer.kind), x, rank, axis, shifted)


def watch_activation_input(
    edit: GraphEdit, site: ActivationSite, kind: TensorType, shifted: frozenset[str]
) -> PointWatch:
    """Add the moments of what enters an activation."""
    edit.slot = min(site.nodes)
    x, rank = activation_input(edit, site, kind)
    rank = site.rank if rank is None else rank
    point = Point("activation", site.name, site.function.kind)
    return _watch(edit, point, x, rank, site.unit_axis, shifted)


def _watch(edit: GraphEdit, point: Point, x: str, rank: int | None, axis: int, shifted: frozenset[str]) -> PointWatch:
    if rank is None:
        x, rank, axis = edit.three_axes(x), 3, 1
    elif rank < 2:
        x, rank, axis = edit.reshape(x, (-1, 1)), 2, 1
    center = None
    if shift_name(point) in shifted and rank > 2:
        x, center = centred(edit, x, rank, axis % rank)
        edit.output(center)
    mean, square = moments(edit, x, rank, axis % rank)
    return PointWatch(point, edit.output(mean), edit.output(square), center)
