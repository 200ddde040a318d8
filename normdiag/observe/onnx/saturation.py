"""Watching activations: flat pieces are counted; of smooth functions a share of the values leaves the graph."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.models.onnx import ActivationSite
from normdiag.observe.onnx.channels import activation_input, wide
from normdiag.observe.onnx.edit import DOUBLE, FLOAT, GraphEdit
from normdiag.observe.onnx.sampling import SampledPlaces, pick
from normdiag.observe.onnx.session import TensorType, Values
from normdiag.observe.sampled import of_pieces, parts_of, sampled_sums
from normdiag.ops import FUNCTIONS, Tails, tails
from normdiag.records import ActivationSums, Span


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor wide enough to count in, of known rank >= 2, and the axis of its units from the start."""

    name: str
    element: int
    rank: int
    axis: int

    @property
    def positions(self) -> list[int]:
        """The axes of what lies between samples and units; of a table the samples themselves."""
        axes = [each for each in range(1, self.rank) if each != self.axis]
        return axes or [0]


@dataclass(frozen=True, eq=False)
class ActivationWatch:
    """Names of the graph outputs that hold, of an activation's input, its `shape` and, where pieces or flat tails are
    counted, summed over positions per sample and unit the values `above` the lower bound and not below the upper one
    (None: no such bound). Else `places` are picked values, and `extreme` is per sample and unit what tells whether
    any value is outside the `edges` (`_is_responsive`).
    """

    site: ActivationSite
    unit_axis: int
    shape: str
    edges: Tails
    above: tuple[str | None, str | None]
    places: SampledPlaces | None
    extreme: str | None
    final: bool

    @property
    def outputs(self) -> tuple[str, ...]:
        """All graph outputs to fetch."""
        picked = () if self.places is None else self.places.outputs
        return tuple(name for name in (self.shape, *self.above, *picked, self.extreme) if name is not None)

    def sums(self, values: Values, random: np.random.Generator, span: Span) -> ActivationSums:
        """Counts and squares of a batch at `span` in the data. `random` draws places where the graph could not."""
        function, shape = self.site.function, values[self.shape]
        units = int(shape[self.unit_axis])
        elements = int(np.prod(shape)) // max(units, 1)
        if self.places is None:
            pieces = FUNCTIONS[function.kind].pieces
            assert pieces is not None  # or it would have been sampled
            outside = self._outside(values, units, elements)
            sums = of_pieces(function.kind, pieces(function), self.edges, elements, outside, span)
        else:
            picked, chosen, places = self.places.of(values, random)
            table = picked.reshape(len(picked), -1, units)
            sums = sampled_sums(function, table, places, self.edges, parts_of(chosen, places, table.shape[1], span))
            if self.edges.closed:
                sums = sums.counted(self._outside(values, units, elements), span)
        if sums.sampled is not None and self.extreme is not None:
            extreme = values[self.extreme].reshape(-1, units)
            sums = replace(sums, responsive=np.asarray(_is_responsive(extreme, self.edges).any(0)))
        return replace(sums, final=self.final)

    def _outside(self, values: Values, units: int, elements: int) -> NDArray[np.int64]:
        """How many values of each row of samples and unit are not between the bounds, (rows, U)."""
        low, high = (None if name is None else _counted(values[name], units) for name in self.above)
        rows = next((len(each) for each in (low, high) if each is not None), 1)
        outside = np.zeros((rows, units), np.int64) if low is None else elements // rows - low
        return outside if high is None else outside + high


def obstacle(site: ActivationSite, kind: TensorType) -> str | None:
    """Why an activation cannot be watched, or None."""
    if kind.rank is None and site.rank is None and site.unit_axis != 1:
        return "the rank of its input is unknown"
    return None


def watch_activation(edit: GraphEdit, site: ActivationSite, kind: TensorType, threshold: float) -> ActivationWatch:
    """Add the counts of an activation after its last node. `threshold` bounds |f'| / max|f'| in the saturated tails."""
    edit.slot = max(site.nodes) + 1
    known, edges = FUNCTIONS[site.function.kind], tails(site.function, threshold)
    # Where y lies on a bound exactly where x is beyond it: y is kept for its next reader anyway.
    x = _shaped(edit, kind, site, output=known.clips)
    pieces = None if known.pieces is None else known.pieces(site.function)
    above: tuple[str | None, str | None] = (None, None)
    if pieces is not None or edges.closed:
        ends = edges if pieces is None else pieces
        above = _above(edit, x, ends.lower), _not_below(edit, x, ends.upper)
    places = None if pieces is not None else _picked(edit, x)
    extreme = None if pieces is not None or edges.closed else _extreme(edit, x, edges)
    shape, final = edit.output(edit.node("Shape", x.name)), edit.ends_in_output(site.output)
    return ActivationWatch(site, x.axis, shape, edges, above, places, extreme, final)


def _counted(sums: NDArray[Any], units: int) -> NDArray[np.int64]:
    exact = np.rint(sums, dtype=np.float64)
    exact[np.isnan(exact)] = 0.0  # NaN activations count as none
    return np.asarray(exact.astype(np.int64).reshape(-1, units))


def _shaped(edit: GraphEdit, kind: TensorType, site: ActivationSite, *, output: bool) -> Tensor:
    """What enters an activation, or the output."""
    x, rank = wide(edit, site.output, kind) if output else activation_input(edit, site, kind)
    element = DOUBLE if kind.element == "tensor(double)" else FLOAT
    rank = site.rank if rank is None else rank
    if rank is None:
        return Tensor(edit.three_axes(x), element, 3, 1)
    if rank < 2:
        return Tensor(edit.reshape(x, (-1, 1)), element, 2, 1)
    return Tensor(x, element, rank, site.unit_axis % rank)


def _not_below(edit: GraphEdit, x: Tensor, bound: float) -> str | None:
    real = np.float64 if x.element == DOUBLE else np.float32
    return _above(edit, x, float(np.nextafter(real(bound), real(-np.inf)))) if math.isfinite(bound) else None


def _above(edit: GraphEdit, x: Tensor, bound: float) -> str | None:
    """How many values are above a bound, per sample and unit."""
    if not math.isfinite(bound):
        return None
    if x.element == DOUBLE:
        ones = edit.cast(edit.node("Greater", x.name, edit.constant(bound, np.float64)), DOUBLE)
    else:
        # A ramp from 0 to 1 that is shorter than the way to the next float, and half as dear as a comparison and a
        # cast. A power of two as its slope, so that nothing is rounded.
        slope = 2.0**126 if bound == 0.0 else 2.0**100
        ones = edit.node("HardSigmoid", x.name, alpha=slope, beta=-slope * float(np.float32(bound)))
    return edit.output(_over_positions(edit, ones, x))


def _over_positions(edit: GraphEdit, ones: str, x: Tensor) -> str:
    """Sums over all but samples and units, in two steps so that float32 counts stay exact far beyond 2^24 positions."""
    axes = x.positions
    if axes == [0]:  # a table: the samples themselves
        return ones
    if len(axes) == 1 or x.axis == 0:
        return edit.reduce("ReduceSum", ones, axes)
    rows: Any = edit.cast(edit.reduce("ReduceSum", ones, axes[-1:], keepdims=True), DOUBLE)
    return edit.reduce("ReduceSum", rows, axes)


def _picked(edit: GraphEdit, x: Tensor) -> SampledPlaces:
    """Some positions of each sample, with all of their units; where these lie last, or in a table, some of the rows."""
    if x.axis == 1 and x.rank > 2:
        return pick(edit, edit.reshape(x.name, (0, 0, -1)), 2)
    name, last = x.name, x.rank - 1
    if x.axis != last:
        name = edit.node("Transpose", name, perm=[*(each for each in range(x.rank) if each != x.axis), x.axis])
    return pick(edit, name if x.rank == 2 else edit.node("Flatten", name, axis=last), 0)


def _extreme(edit: GraphEdit, x: Tensor, edges: Tails) -> str | None:
    """The largest value if the only tail is the lower one, else the smallest, of distances from their middle if two."""
    if edges == Tails():
        return None
    if math.isinf(edges.upper):
        return edit.output(edit.reduce("ReduceMax", x.name, x.positions))
    name, middle = x.name, 0.5 * (edges.lower + edges.upper)
    if math.isfinite(middle):
        real = np.float64 if x.element == DOUBLE else np.float32
        shifted = name if abs(middle) < 1e-12 else edit.node("Sub", name, edit.constant(middle, real))
        name = edit.node("Abs", shifted)
    return edit.output(edit.reduce("ReduceMin", name, x.positions))


def _is_responsive(extreme: NDArray[Any], edges: Tails) -> NDArray[np.bool_]:
    """Whether some value was not in the tails, from what `_extreme` gives."""
    real = extreme.dtype.type
    if math.isinf(edges.upper):
        return np.asarray(extreme >= real(edges.lower))
    if math.isinf(edges.lower):
        return np.asarray(extreme <= real(edges.upper))
    return np.asarray(extreme <= real(0.5 * (edges.upper - edges.lower)))
