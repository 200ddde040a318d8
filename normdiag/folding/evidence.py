"""Whether what was compared can carry a verification: where everything is NaN, any two models are equal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from normdiag.errors import InputError
from normdiag.folding.backend import Point
from normdiag.folding.tally import Tally
from normdiag.records import FoldPlan, OpGraph
from normdiag.wording import abridged


def check_evidence(tally: Tally, graph: OpGraph, plan: FoldPlan, points: Sequence[Point]) -> None:
    """Raise InputError where an output, or a folded point and all that lies after it, never had a finite value.

    An output that is always empty is no evidence either; but where the folded points were compared they are.
    """
    every_point = bool(points) or not plan.steps
    seen = tally.seen("output").items()
    outputs = [tensor for tensor, (values, size) in seen if not values and (size or not every_point)]
    if outputs:
        raise InputError(_no_value(f"at output {_quoted(outputs)} on any input"))
    layers = [point.layer for point in unseen(tally, points) if not _seen_behind(tally, graph, point.before)]
    if layers:
        raise InputError(_no_value(f"at the fold of {_quoted(layers)} on any input, nor at an output after it"))


def unseen(tally: Tally, points: Iterable[Point]) -> list[Point]:
    """The points at which nothing finite was compared in any run, and nothing that differs was found."""
    seen = {tensor for tensor, each in tally.all("point") if each.values or each.largest}
    return [point for point in points if point.before not in seen]


def groups_without_values(tally: Tally) -> Iterator[tuple[str, list[str]]]:
    """The groups of inputs on which outputs had no finite value, with these outputs."""
    for (kind, group), known in tally.found.items():
        names = [tensor for tensor, each in known.items() if each.size and not each.values]
        if kind == "output" and names:
            yield group, names


def _seen_behind(tally: Tally, graph: OpGraph, tensor: str) -> bool:
    """Whether an output that depends on a tensor had a finite value. Of one that the graph does not know it may."""
    reached = {tensor}
    for op in graph.ops:
        if not reached.isdisjoint(op.inputs):
            reached.update(op.outputs)
    apart = set(graph.outputs) - reached
    return any(values and name not in apart for name, (values, _) in tally.seen("output").items())


def _quoted(names: Sequence[str]) -> str:
    return abridged([repr(name) for name in names])


def _no_value(where: str) -> str:
    return (
        f"the original gives no finite value {where}: nothing can be compared there; give other inputs with --data, or "
        "--no-verify writes it without a verification"
    )
