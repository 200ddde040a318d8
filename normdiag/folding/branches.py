"""Which branch of an Add should take the shift: one after which no padding stands in its way."""

from __future__ import annotations

from normdiag.folding.targets import is_number
from normdiag.records import (
    Add,
    Concat,
    Constant,
    Conv,
    Linear,
    Norm,
    Op,
    OpGraph,
    Parameter,
    Pass,
    Reshape,
    ScaleShift,
    Select,
    Split,
    Take,
    Transpose,
    Window,
)


def shift_takers(graph: OpGraph) -> frozenset[str]:
    """Tensors to which the layers before them can add a constant, as far as one look at each operation tells."""
    takers: set[str] = set()
    for op in graph.ops:
        if _takes_shift(op, takers):
            takers.update(op.outputs)
    return frozenset(takers)


def _takes_shift(op: Op, takers: set[str]) -> bool:
    taking = [name in takers for name in op.inputs]
    match op.detail:
        case Conv() | Linear():
            return _free(op.detail.bias)
        case Norm(gamma=gamma, beta=beta, obstacle=obstacle):
            return obstacle is None and ((gamma is not None and _free(beta)) or any(taking))
        case ScaleShift(obstacle=obstacle) | Constant(value=Parameter(obstacle=obstacle)):
            return obstacle is None and (all(taking) or not is_number(op))
        case Add():
            return any(taking)
        case Window(shift=shift):
            return shift and all(taking)
    told = taking[:2] if isinstance(op.detail, Select) else taking
    return isinstance(op.detail, Pass | Transpose | Reshape | Split | Take | Concat | Select) and all(told)


def _free(parameter: Parameter | None) -> bool:
    return parameter is None or parameter.obstacle is None
