"""Watching activations: exact counts of saturated values per unit, and the sum of f'(x)^2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.models.onnx import ActivationSite
from normdiag.observe.onnx.channels import wide
from normdiag.observe.onnx.derivatives import DERIVATIVES, Expression
from normdiag.observe.onnx.edit import DOUBLE, FLOAT, GraphEdit
from normdiag.observe.onnx.session import TensorType, Values
from normdiag.ops import FUNCTIONS, Pieces, Tails, tails
from normdiag.records import ActivationSums


@dataclass(frozen=True, eq=False)
class ActivationWatch:
    """Names of the graph outputs that hold, of an activation's input, `shape` and, summed over positions, per sample
    and unit: the `count` of values inside the `pieces`, or between closed tails, else of those in the tails (None:
    nothing saturates), and the sum of f'(x)^2 (None: the pieces tell).
    """

    site: ActivationSite
    unit_axis: int
    shape: str
    count: str | None
    derivative_square: str | None
    edges: Tails
    pieces: Pieces | None
    final: bool

    @property
    def outputs(self) -> tuple[str, ...]:
        """All graph outputs to fetch."""
        return tuple(name for name in (self.shape, self.count, self.derivative_square) if name is not None)

    def sums(self, values: Values) -> ActivationSums:
        """Counts and squares, summed over the samples."""
        shape = values[self.shape]
        units = int(shape[self.unit_axis])
        elements = int(np.prod(shape)) // max(units, 1)
        outside = self._outside(values, units, elements)
        if self.derivative_square is not None:
            square = float(values[self.derivative_square].sum(dtype=np.float64))
        else:
            assert self.pieces is not None
            inside = elements * units - int(outside.sum())
            square = self.pieces.inside**2 * inside + self.pieces.outside**2 * int(outside.sum())
        saturated = np.zeros_like(outside) if self.edges == Tails() else outside
        return ActivationSums(self.site.function.kind, elements, saturated, square, self.final)

    def _outside(self, values: Values, units: int, elements: int) -> NDArray[np.int64]:
        if self.count is None:
            return np.zeros(units, np.int64)
        counts = np.rint(values[self.count].astype(np.float64)).astype(np.int64).reshape(-1, units).sum(0)
        closed = self.pieces is not None or self.edges.closed
        return np.asarray(elements - counts if closed else counts)


def obstacle(site: ActivationSite, kind: TensorType) -> str | None:
    """Why an activation cannot be watched, or None."""
    if kind.rank is None and site.rank is None and site.unit_axis != 1:
        return "the rank of its input is unknown"
    return None


def watch_activation(edit: GraphEdit, site: ActivationSite, kind: TensorType, threshold: float) -> ActivationWatch:
    """Add the counts of an activation after its last node. `threshold` bounds |f'| / max|f'| in the saturated tails."""
    edit.slot = max(site.nodes) + 1
    function = site.function
    known = FUNCTIONS[function.kind]
    edges, pieces = tails(function, threshold), known.pieces(function) if known.pieces else None
    element = DOUBLE if kind.element == "tensor(double)" else FLOAT
    # Where y lies on a bound exactly where x is beyond it: y is kept for its next reader anyway.
    x, rank, axis = _shaped(edit, site.output if known.clips else site.input, kind, site)
    value = Expression(edit, x, element)
    mask = _mask(value, edges if pieces is None else Tails(pieces.lower, pieces.upper, closed=True))
    count = None if mask is None else edit.output(_over_positions(edit, edit.cast(mask, element), rank, axis))
    square = None
    if pieces is None:
        y = Expression(edit, _shaped(edit, site.output, kind, site)[0], element)
        slope = DERIVATIVES[function.kind](function, value, y)
        square = edit.output(_over_positions(edit, (slope * slope).name, rank, axis))
    shape = edit.output(edit.node("Shape", x))
    return ActivationWatch(site, axis, shape, count, square, edges, pieces, edit.ends_in_output(site.output))


def _shaped(edit: GraphEdit, name: str, kind: TensorType, site: ActivationSite) -> tuple[str, int, int]:
    """A tensor wide enough to count in, of known rank >= 2, with its rank and the axis of the units from the start."""
    x, rank = wide(edit, name, kind)
    rank = site.rank if rank is None else rank
    if rank is None:
        return edit.reshape(x, (0, 0, -1)), 3, 1
    if rank < 2:
        return edit.reshape(x, (-1, 1)), 2, 1
    return x, rank, site.unit_axis % rank


def _mask(x: Expression, bounds: Tails) -> str | None:
    """A boolean tensor: responsive values where the tails are closed, saturated ones where they are open."""
    edit = x.edit
    below, above = ("Greater", "Less") if bounds.closed else ("Less", "Greater")
    sides = [
        edit.node(op, x.name, x.operand(bound))
        for op, bound in ((below, bounds.lower), (above, bounds.upper))
        if math.isfinite(bound)
    ]
    if not sides:
        return None
    return sides[0] if len(sides) == 1 else edit.node("And" if bounds.closed else "Or", *sides)


def _over_positions(edit: GraphEdit, x: str, rank: int, axis: int) -> str:
    """Sums over all but samples and units, in two steps so that float32 counts stay exact far beyond 2^24 positions."""
    axes = [each for each in range(1, rank) if each != axis]
    if not axes or axis == 0:
        return edit.reduce("ReduceSum", x, axes if axis == 0 else (0,))
    if len(axes) == 1:
        return edit.reduce("ReduceSum", x, axes)
    rows: Any = edit.cast(edit.reduce("ReduceSum", x, axes[-1:], keepdims=True), DOUBLE)
    return edit.reduce("ReduceSum", rows, axes)
