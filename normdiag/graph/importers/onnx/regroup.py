"""GroupNorm as exporters write it: Reshape to (N, groups, ...), normalize, Reshape back."""

from __future__ import annotations

from dataclasses import replace

from normdiag.graph.importers.onnx.constants import Constants
from normdiag.graph.importers.onnx.layout import UNKNOWN, Layouts, vector_length
from normdiag.graph.importers.onnx.nodes import Graph, Node
from normdiag.graph.recognise.terms import Normal


def regroup(term: Normal, back: Node, graph: Graph, constants: Constants, layouts: Layouts) -> Normal | None:
    """The GroupNorm that a normalization between two reshapes is, `back` being the second; None if it is not one."""
    forth = graph.producer(term.tensor)
    if term.stage or forth is None or forth.op != "Reshape" or forth.domain:
        return None
    source = forth.input(0)
    before, after = layouts.get(source, UNKNOWN).rank, vector_length(back.input(1), layouts, constants)
    if None in (before, after) and not _shape_of(back.input(1), source, graph):
        return None
    if before is not None and after is not None and before != after:
        return None
    axis = _group_axis(term, layouts.get(term.tensor, UNKNOWN).rank)
    groups = _groups(term, forth, axis, constants, layouts) if axis else None
    if axis is None or groups is None or groups < 1:
        return None
    return replace(
        term,
        tensor=source,
        output=back.outputs[0],
        groups=groups,
        grouped_axis=1 if axis == 1 else -1,
        closed=False,
        nodes=term.nodes | {forth.index},
    )


def _group_axis(term: Normal, rank: int | None) -> int | None:
    """The one axis beside the batch that is not averaged over: the first, or the last but one of channels-last."""
    if rank is None or min(term.span.axes) <= 0:
        return None
    free = set(range(1, rank)) - set(term.span.axes)
    return next(iter(free)) if len(free) == 1 and free <= {1, rank - 2} else None


def _groups(term: Normal, forth: Node, axis: int, constants: Constants, layouts: Layouts) -> int | None:
    target = constants.integers(forth.input(1))
    if target is not None and axis < len(target) and target[axis] > 0:
        return target[axis]
    shape = layouts.get(term.tensor, UNKNOWN).shape
    return shape[axis] if shape is not None and axis < len(shape) else None


def _shape_of(tensor: str, source: str, graph: Graph) -> bool:
    node = graph.producer(graph.root(tensor))
    return node is not None and node.op == "Shape" and graph.root(node.input(0)) == graph.root(source)
