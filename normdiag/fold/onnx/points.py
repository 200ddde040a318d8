"""Where a folded model can be compared with its original inside: tensors that have the same values in both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from normdiag.fold.backend import Point
from normdiag.records import FoldPlan, FoldStep, OpGraph


def is_upstream(graph: OpGraph, step: FoldStep, index: int) -> bool:
    """Whether the norm at this index of the graph goes into what comes before it."""
    if step.direction != "norm":
        return step.direction == "before"
    return any(op.name in step.into for op in graph.ops[:index])


def steps_by_op(graph: OpGraph, plan: FoldPlan) -> Mapping[int, FoldStep]:
    """The step of every norm that goes or is stripped, by the index of its op."""
    steps = {step.norm: step for step in plan.steps}
    touched = (*plan.removed, *plan.stripped, *plan.shifts)
    return {index: steps[graph.ops[index].name] for index in touched if graph.ops[index].name in steps}


def find_points(graph: OpGraph, plan: FoldPlan, name_now: Callable[[str], str | None]) -> tuple[Point, ...]:
    """One point for each step where there is one; `name_now` gives the name of a tensor in the folded model.

    For a norm that went upstream that is its output, else the output of a layer that took it up: unless other folds
    have changed what flows there.
    """
    ways = {index: is_upstream(graph, step, index) for index, step in steps_by_op(graph, plan).items()}
    altered = _altered(graph, plan, ways)
    points = []
    for index, step in steps_by_op(graph, plan).items():
        places = [index] if ways[index] else [i for i, op in enumerate(graph.ops) if op.name in step.into]
        for tensor in (graph.ops[place].outputs[0] for place in places):
            now = name_now(tensor)
            if now is not None and tensor not in altered:
                points.append(Point(step.norm, tensor, now))
                break
    return tuple(points)


def _altered(graph: OpGraph, plan: FoldPlan, ways: Mapping[int, bool]) -> set[str]:
    """The tensors between the norms and the layers that took them up: their values are others now."""
    producers = {name: [i] for i, op in enumerate(graph.ops) for name in op.outputs}
    consumers = defaultdict(list)
    for i, op in enumerate(graph.ops):
        for name in op.inputs:
            consumers[name].append(i)
    altered: set[str] = set()
    for index, step in steps_by_op(graph, plan).items():
        op = graph.ops[index]
        if ways[index]:
            altered |= _walk(graph, op.inputs[:1], producers, step.into, lambda i: graph.ops[i].inputs)
        else:
            altered |= _walk(graph, op.outputs[:1], consumers, step.into, lambda i: graph.ops[i].outputs)
    return altered


def _walk(
    graph: OpGraph,
    start: Sequence[str],
    neighbours: Mapping[str, Sequence[int]],
    stop: Sequence[str],
    onwards: Callable[[int], Sequence[str]],
) -> set[str]:
    waiting, seen = list(start), set(start)
    while waiting:
        for i in neighbours.get(waiting.pop(), ()):
            if graph.ops[i].name not in stop:
                new = set(onwards(i)) - seen
                seen |= new
                waiting += new
    return seen
