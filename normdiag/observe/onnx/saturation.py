"""Watching activations: exact counts of saturated values per unit, and the sum of f'(x)^2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.models.onnx import ActivationSite
from normdiag.observe.activations import SELU_ALPHA, SELU_SCALE, Activation, Tails, tails
from normdiag.observe.onnx.channels import wide
from normdiag.observe.onnx.derivatives import DERIVATIVES, Expression
from normdiag.observe.onnx.edit import DOUBLE, FLOAT, GraphEdit
from normdiag.observe.onnx.session import TensorType, Values
from normdiag.records import ActivationSums

# Kinds that clip: x is beyond a bound exactly where y lies on it, and y is kept for its next reader anyway.
_CLIPPING = frozenset({"relu", "relu6", "clip"})


@dataclass(frozen=True, eq=False)
class ActivationWatch:
    """Names of the graph outputs that hold, of an activation's input, `shape` and, summed over positions, per sample
    and unit: the `count` of responsive values if `closed`, else of saturated ones (None: nothing saturates), and the
    sum of f'(x)^2 (None: f' is `slope` on responsive values and 0 elsewhere).
    """

    site: ActivationSite
    unit_axis: int
    shape: str
    count: str | None
    derivative_square: str | None
    closed: bool
    slope: float
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
        saturated = self._saturated(values, units, elements)
        if self.derivative_square is None:
            square = self.slope**2 * (elements * units - int(saturated.sum()))
        else:
            square = float(values[self.derivative_square].sum(dtype=np.float64))
        return ActivationSums(self.site.kind, elements, saturated, square, self.final)

    def _saturated(self, values: Values, units: int, elements: int) -> NDArray[np.int64]:
        if self.count is None:
            return np.zeros(units, np.int64)
        counts = np.rint(values[self.count].astype(np.float64)).astype(np.int64).reshape(-1, units).sum(0)
        return np.asarray(elements - counts if self.closed else counts)


def obstacle(site: ActivationSite, kind: TensorType) -> str | None:
    """Why an activation cannot be watched, or None."""
    if kind.rank is None and site.rank is None and site.unit_axis != 1:
        return "the rank of its input is unknown"
    if site.kind == "hard_sigmoid" and site.parameters.get("beta", 0.5) != 0.5:
        return "its beta is not 0.5"
    if site.kind == "selu" and not all(math.isclose(*pair, rel_tol=1e-4) for pair in _selu_constants(site)):
        return "it is a SELU with constants of its own"
    return None


def watch_activation(edit: GraphEdit, site: ActivationSite, kind: TensorType, threshold: float) -> ActivationWatch:
    """Add the counts of an activation after its last node. `threshold` bounds |f'| / max|f'| in the saturated tails."""
    edit.slot = max(site.nodes) + 1
    function = _function(site)
    bounds = tails(function, threshold)
    element = DOUBLE if kind.element == "tensor(double)" else FLOAT
    source = site.output if site.kind in _CLIPPING else site.input
    x, rank, axis = _shaped(edit, source, kind, site)
    value = Expression(edit, x, element)
    if site.kind == "silu" and function.alpha != 1.0:
        value = value * function.alpha  # f(x) = x sigmoid(a x) = silu(a x)/a, so f'(x) = silu'(a x)
    mask = _mask(value, bounds)
    count = None if mask is None else edit.output(_over_positions(edit, edit.cast(mask, element), rank, axis))
    square = None
    if site.kind in DERIVATIVES:
        y = Expression(edit, _shaped(edit, site.output, kind, site)[0], element)
        slope = DERIVATIVES[site.kind](function, value, y)
        square = edit.output(_over_positions(edit, (slope * slope).name, rank, axis))
    shape = edit.output(edit.node("Shape", x))
    flat_slope = function.alpha if site.kind == "hard_sigmoid" else 1.0
    return ActivationWatch(
        site, axis, shape, count, square, bounds.closed, flat_slope, edit.ends_in_output(site.output)
    )


def _selu_constants(site: ActivationSite) -> tuple[tuple[float, float], tuple[float, float]]:
    given = site.parameters
    return (given.get("alpha", SELU_ALPHA), SELU_ALPHA), (given.get("gamma", SELU_SCALE), SELU_SCALE)


def _function(site: ActivationSite) -> Activation:
    given = site.parameters
    alpha = given.get("alpha", {"leaky_relu": 0.01, "hard_sigmoid": 0.2}.get(site.kind, 1.0))
    low = given.get("min", 0.0 if site.kind == "relu6" else -math.inf)
    return Activation(site.kind, alpha, low, given.get("max", 6.0 if site.kind == "relu6" else math.inf))


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
