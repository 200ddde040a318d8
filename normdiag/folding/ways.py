"""Which way each norm went, and where a folded model can be compared with its original inside."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from normdiag.folding.backend import FoldPoint
from normdiag.records import FoldPlan, FoldStep, Norm, NormLayer, Op, OpGraph, ScaleShift


@dataclass(frozen=True)
class Way:
    """Where a norm ended: in the layers `into`, by the index of their ops, and whether these come before it."""

    step: FoldStep
    into: frozenset[int]
    upstream: bool


def ways(graph: OpGraph, plan: FoldPlan) -> Mapping[int, Way]:
    """The way of every norm that goes or is stripped, by the index of its op.

    One that went into another norm, or into a Mul or Add, has gone wherever that went in its turn.
    """
    places: dict[str, set[int]] = defaultdict(set)
    for index, op in enumerate(graph.ops):
        places[op.name].add(index)
        places[_norm_name(op)].add(index)
    found = _steps(graph, plan)
    next_to = {index: {place for name in step.into for place in places[name]} for index, step in found.items()}
    result = {}
    for index, step in found.items():
        into = _followed(index, next_to)
        ahead = step.direction == "after" if not into else min(into) > index
        result[index] = Way(step, into, not ahead)
    return result


def find_points(graph: OpGraph, plan: FoldPlan, name_now: Callable[[str], str | None]) -> tuple[FoldPoint, ...]:
    """One point for each step where there is one; `name_now` gives the name of a tensor in the folded model.

    For a norm that went upstream that is its output, else the output of a layer that took it up, and where a norm went
    into a convolution beside it, their sum: unless other folds have changed what flows there.
    """
    gone = ways(graph, plan)
    altered = _altered(graph, gone, plan)
    points = []
    for index, way in gone.items():
        for tensor in _candidates(graph, plan, index, way):
            now = name_now(tensor)
            if now is not None and tensor not in altered:
                points.append(FoldPoint(way.step.norm, tensor, now))
                break
    return tuple(points)


def _candidates(graph: OpGraph, plan: FoldPlan, index: int, way: Way) -> list[str]:
    """The tensors that show the values of a norm, best first."""
    if index in plan.beside:
        return [graph.ops[plan.beside[index].meeting].outputs[0]]
    own = [graph.ops[place].outputs[0] for place in ([index] if way.upstream else sorted(way.into))]
    sums = [
        graph.ops[each.meeting].outputs[0] for each in plan.beside.values() if not set(own).isdisjoint(each.between)
    ]
    return own + sums


def _steps(graph: OpGraph, plan: FoldPlan) -> Mapping[int, FoldStep]:
    """By the index of the norm's op; norms of one name in graph order, as a plan lists them."""
    named: dict[str, deque[FoldStep]] = defaultdict(deque)
    for step in plan.steps:
        named[step.norm].append(step)
    touched = sorted({*plan.removed, *plan.stripped, *plan.shifts, *plan.beside})
    queues = {index: named[_norm_name(graph.ops[index])] for index in touched}
    return {index: queue.popleft() for index, queue in queues.items() if queue}


def _norm_name(op: Op) -> str:
    """What a plan calls an op that goes: a norm by the name of its layer."""
    match op.detail:
        case Norm(layer=layer) | ScaleShift(norm=NormLayer() as layer):
            return layer.name
    return op.name


def _followed(index: int, next_to: Mapping[int, Set[int]]) -> frozenset[int]:
    """The layers at the end of the way; those that went on themselves are left out."""
    waiting, seen, ends = [index], {index}, set()
    while waiting:
        for place in next_to[waiting.pop()] - seen:
            seen.add(place)
            if place in next_to:
                waiting.append(place)
            else:
                ends.add(place)
    return frozenset(ends)


def _altered(graph: OpGraph, gone: Mapping[int, Way], plan: FoldPlan) -> set[str]:
    """The tensors between the norms and the layers that took them up: their values are others now."""
    producers = {name: [i] for i, op in enumerate(graph.ops) for name in op.outputs}
    consumers = defaultdict(list)
    for i, op in enumerate(graph.ops):
        for name in op.inputs:
            consumers[name].append(i)
    altered = {name for each in plan.beside.values() for name in each.between}
    for index, way in gone.items():
        op, ends = graph.ops[index], way.into | plan.beside.keys()
        if index in plan.beside:
            continue
        if way.upstream:
            altered |= _walk(op.inputs[:1], producers, ends, lambda i: graph.ops[i].inputs)
        else:
            altered |= _walk(op.outputs[:1], consumers, ends, lambda i: graph.ops[i].outputs)
    return altered


def _walk(
    start: Sequence[str],
    neighbours: Mapping[str, Sequence[int]],
    stop: Set[int],
    onwards: Callable[[int], Sequence[str]],
) -> set[str]:
    waiting, seen = list(start), set(start)
    while waiting:
        for i in neighbours.get(waiting.pop(), ()):
            if i not in stop:
                new = set(onwards(i)) - seen
                seen |= new
                waiting += new
    return seen
