"""Layers whose output is constant: what of the model no longer depends on its input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from normdiag.records import Norm, NormLayer, Op, OpGraph, OpKind, ScaleShift
from normdiag.rules.flow import Flow, flow

LAYERS: frozenset[OpKind] = frozenset({"conv", "conv_transpose", "linear", "norm"})
Lost = Literal["output", "branch"]


def stops(graph: OpGraph, constant: Callable[[NormLayer], bool]) -> Mapping[str, Lost]:
    """The layers with a constant output that nothing goes around, by name, in the graph's order.

    'output': an output of the model is constant for it. 'branch': the next layer reads a constant, though the outputs
    depend on the input by another way. Left out are layers whose output meets, in a sum or otherwise, a tensor that
    depends on the input before another layer reads it (the end of a residual branch), those after another that is
    found, and all of a graph with subgraphs, whose reads are not known.
    """
    dead = frozenset(op for op in graph.ops if (layer := _layer(op)) is not None and constant(layer))
    if not dead or graph.pinned:
        return {}
    alive, links = _reached(graph, dead), flow(graph)
    first = [op for op in graph.ops if op in dead and not alive.isdisjoint(op.inputs)]
    lost = _reached(graph, frozenset()).intersection(graph.outputs) - alive
    to_blame = _in_front(lost, links, frozenset(first))
    found: dict[str, Lost] = {}
    for op in first:
        if op in to_blame:
            found[_name(op)] = "output"
        elif not _is_joined(op, links, alive):
            found[_name(op)] = "branch"
    return found


def _layer(op: Op) -> NormLayer | None:
    if isinstance(op.detail, Norm):
        return op.detail.layer
    return op.detail.norm if isinstance(op.detail, ScaleShift) else None


def _name(op: Op) -> str:
    layer = _layer(op)
    return op.name if layer is None else layer.name


def _reached(graph: OpGraph, without: frozenset[Op]) -> frozenset[str]:
    """The tensors that depend on the values of the inputs, if some operations were constant."""
    reached = set(graph.inputs)
    for op in graph.ops:
        if not reached.isdisjoint(op.inputs) and op not in without:
            reached.update(filter(None, op.outputs))
    return frozenset(reached)


def _in_front(tensors: Iterable[str], links: Flow, until: frozenset[Op]) -> frozenset[Op]:
    """Those operations of `until` that are met first on the ways back from the tensors."""
    queue, met = list(tensors), set[Op]()
    seen = set(queue)
    while queue:
        op = links.writers.get(queue.pop())
        if op in until:
            met.add(op)
        elif op is not None:
            queue += (new := [name for name in op.inputs if name not in seen])
            seen.update(new)
    return frozenset(met)


def _is_joined(start: Op, links: Flow, alive: frozenset[str]) -> bool:
    """Whether something that depends on the input comes in before the next layers."""
    queue, seen = [start], {start}
    while queue:
        for op in links.after(queue.pop()):
            if any(name in alive for name in op.inputs):
                return True
            if op.kind not in LAYERS and op not in seen:
                seen.add(op)
                queue.append(op)
    return False
