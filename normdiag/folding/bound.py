"""How far rounding alone can take a right fold from its original; docs/folding.md has the derivation.

Layer l rounds its result once and sums K_l products: variance u^2 + K_l v^2 relative to what it sums, with u the unit
roundoff of the values and v that of the sums, by the probabilistic analysis of Higham and Mary (2019), 'A new approach
to probabilistic rounding error analysis', SIAM J. Sci. Comput. 41(5). Errors of independent layers add in quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from normdiag.records import (
    Constant,
    Conv,
    FoldPlan,
    Linear,
    Norm,
    Op,
    OpGraph,
    Pass,
    Reshape,
    Select,
    Split,
    Transpose,
)

# Unit roundoff, half the distance from 1 to the next number, by dtype.
ROUNDOFF = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
    "float8_e4m3fn": 2.0**-4,
    "float8_e5m2": 2.0**-3,
}

# How many times the measured error of the original itself a right fold may differ from it, and how many times the
# estimate; where nothing in float64 can be run, the estimate and the response to a change in the last bit of the input.
# docs/folding.md shows how they were found.
MEASURED = 16.0
ESTIMATED = 4.0
RESPONSE = 32.0
UNMEASURED = 16.0


@dataclass(frozen=True)
class Depth:
    """The graph as rounding sees it: its coarsest floating dtype, and the estimated error of each tensor.

    `errors` are relative standard deviations by tensor, `largest` that of the deepest. `layers` is the number of
    convolutions and linear layers on the longest path.
    """

    dtype: str
    layers: int
    largest: float
    errors: Mapping[str, float] = field(default_factory=dict)

    @property
    def roundoff(self) -> float:
        """Of the coarsest dtype."""
        return ROUNDOFF[self.dtype]

    def of(self, tensor: str) -> float:
        """The estimate for a tensor; the largest for one that the graph does not know."""
        return self.errors.get(tensor, self.largest)


def depth(graph: OpGraph, plan: FoldPlan, cancellation: Mapping[str, float] | None = None) -> Depth:
    """Follow the graph and add up what its layers round.

    `cancellation` has, for a norm by name, max|shift| / max|output| as measured: the error of what the norm subtracts
    from grows by that factor, relative to what is left (at least 1).
    """
    dtype = coarsest(graph)
    unit = ROUNDOFF[dtype]
    layers = _longest(graph, lambda op: float(isinstance(op.detail, Conv | Linear)))
    into = _fan_in_by_norm(graph, plan)
    grown = {name: max(1.0, factor) for name, factor in (cancellation or {}).items()}

    def variance(op: Op) -> float:
        own = _variance(max(fan_in(op), into.get(op.name, 1)), unit)
        return grown.get(op.name, 1.0) ** 2 * own if _computes(op) else 0.0

    errors = {name: max(unit, math.sqrt(value)) for name, value in _longest(graph, variance).items()}
    return Depth(dtype, int(max(layers.values(), default=0.0)), max(errors.values(), default=unit), errors)


def coarsest(graph: OpGraph) -> str:
    """The floating dtype with the largest unit roundoff among all tensors and weights; float32 where none is known."""
    names = set(graph.dtypes.values())
    for op in graph.ops:
        if isinstance(op.detail, Conv | Linear):
            names.add(op.detail.weight.dtype)
    known = [name for name in names if name in ROUNDOFF]
    return max(known, key=lambda name: ROUNDOFF[name], default="float32")


def fan_in(op: Op) -> int:
    """The number of products that a layer sums for one element of its output; 1 for anything that is no layer."""
    detail = op.detail
    if isinstance(detail, Conv):
        shape = detail.weight.shape
        channels = shape[0] // max(detail.groups, 1) if detail.transposed else shape[1]
        return max(1, channels * math.prod(shape[2:]))
    return max(1, detail.weight.shape[detail.in_axis]) if isinstance(detail, Linear) else 1


def accepted(estimate: float, roundoff: float, *, own: float | None = None, response: float = 0.0) -> float:
    """The largest relative difference that counts as rounding.

    `own` is the error of the original against float64, None where unknown; `response` how far it moved when its input
    changed in the last bit.
    """
    if own is None:
        return min(most(roundoff), max(UNMEASURED * estimate, RESPONSE * response))
    return min(most(roundoff), max(ESTIMATED * estimate, MEASURED * max(own, response)))


def proves_nothing(moved: float, roundoff: float, *, measured: bool) -> bool:
    """Whether rounding moves the original so far that what it explains is above what counts as agreement at all.

    `moved` is its error against float64 where that was `measured`, or how far it moved when its input changed in the
    last bit.
    """
    return (MEASURED if measured else RESPONSE) * moved > most(roundoff)


def most(roundoff: float) -> float:
    """No bound is above this, 4 sqrt(roundoff): agreement in less than half of the digits verifies nothing."""
    return 4 * math.sqrt(roundoff)


def _variance(products: int, unit: float) -> float:
    """Of the relative error of one layer: sums are kept in float32 or better, whatever the values are stored in."""
    return unit**2 + products * min(unit, ROUNDOFF["float32"]) ** 2


def _computes(op: Op) -> bool:
    """Whether an op rounds at all."""
    return not isinstance(op.detail, Pass | Reshape | Transpose | Split | Select | Constant) and op.kind != "concat"


def _fan_in_by_norm(graph: OpGraph, plan: FoldPlan) -> Mapping[str, int]:
    """For each norm of the plan: the largest fan-in of the layers that take it up."""
    by_layer = {op.name: fan_in(op) for op in graph.ops if not isinstance(op.detail, Norm)}
    return {step.norm: max((by_layer.get(name, 1) for name in step.into), default=1) for step in plan.steps}


def _longest(graph: OpGraph, weigh: Callable[[Op], float]) -> dict[str, float]:
    """For each tensor the largest sum of weights over the paths that lead to it."""
    reached = dict.fromkeys(graph.inputs, 0.0)
    for op in graph.ops:
        value = max((reached.get(name, 0.0) for name in op.inputs), default=0.0) + weigh(op)
        reached |= dict.fromkeys((name for name in op.outputs if name), value)
    return reached
