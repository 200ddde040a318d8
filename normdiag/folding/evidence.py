"""Whether what was compared can carry a verification.

Where everything is NaN, any two models are equal; where the original is in rounding noise, any two differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from normdiag.errors import InputError
from normdiag.folding.backend import FoldPoint
from normdiag.folding.feeds import TrialFeed
from normdiag.folding.noise import depends_on
from normdiag.folding.tally import Tally
from normdiag.records import FoldPlan, OpGraph
from normdiag.wording import abridged


def check_evidence(tally: Tally, graph: OpGraph, plan: FoldPlan, points: Sequence[FoldPoint], feed: TrialFeed) -> None:
    """Raise InputError where an output, or a folded point and all that lies after it, was never compared.

    An output that is always empty is no evidence either; but where the folded points were compared they are.
    """
    outputs, layers = missing(tally, graph, plan, points)
    if (outputs or layers) and tally.noise:
        raise InputError(only_noise(tally, feed))
    if outputs:
        raise InputError(_no_value(f"at output {_quoted(outputs)} on any input"))
    if layers:
        raise InputError(_no_value(f"at the fold of {_quoted(layers)} on any input, nor at an output after it"))


def missing(tally: Tally, graph: OpGraph, plan: FoldPlan, points: Sequence[FoldPoint]) -> tuple[list[str], list[str]]:
    """The outputs that were never compared, and the layers of the points that were not, nor an output after them."""
    every_point = bool(points) or not plan.steps
    seen, inner = tally.seen("output"), {point.before for point in points}
    noise = [tensor for tensor in tally.noise if tensor not in seen and tensor not in inner]
    outputs = [tensor for tensor, (values, size) in seen.items() if not values and (size or not every_point)]
    return [*noise, *outputs], [
        point.layer for point in unseen(tally, points) if not _seen_after(tally, graph, point.before)
    ]


def only_noise(tally: Tally, feed: TrialFeed) -> str:
    """Why a fold cannot be verified: no layer is to blame."""
    inputs, remedy = (
        ("made-up inputs", "give a few real samples with --data") if feed.made_up else ("these data", "give other data")
    )
    return (
        f"the fold cannot be verified on {inputs}: rounding alone moves the original there "
        f"{moved_by(max(tally.noise.values()))}, so that any two right models differ; {remedy}, or --no-verify writes "
        "it without a verification"
    )


def moved_by(share: float) -> str:
    """How far rounding moves something, as a share of its largest value."""
    return f"by up to {share:.1e} of its largest value" if share < 1 else "by as much as its largest value"


def unseen(tally: Tally, points: Iterable[FoldPoint]) -> list[FoldPoint]:
    """The points at which nothing finite was compared in any run, and nothing that differs was found."""
    seen = {tensor for tensor, each in tally.all("point") if each.values or each.largest}
    return [point for point in points if point.before not in seen]


def groups_without_values(tally: Tally) -> Iterator[tuple[str, list[str]]]:
    """The groups of inputs on which outputs had no finite value, with these outputs."""
    for (kind, group), known in tally.found.items():
        names = [tensor for tensor, each in known.items() if each.size and not each.values]
        if kind == "output" and names:
            yield group, names


def _seen_after(tally: Tally, graph: OpGraph, tensor: str) -> bool:
    """Whether an output that depends on a tensor had a finite value. Of one that the graph does not know it may."""
    apart = set(graph.outputs) - depends_on(graph, [tensor])
    return any(values and name not in apart for name, (values, _) in tally.seen("output").items())


def _quoted(names: Sequence[str]) -> str:
    return abridged([repr(name) for name in names])


def _no_value(where: str) -> str:
    return (
        f"the original gives no finite value {where}: nothing can be compared there; give other inputs with --data, or "
        "--no-verify writes it without a verification"
    )
