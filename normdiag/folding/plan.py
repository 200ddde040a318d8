"""Which norms go where: into the layers before them, into those after, into one beside them, their scale alone.

In eval mode such a norm is y = scale * x + shift per channel, so that a neighbouring linear layer absorbs it exactly
(Ioffe and Szegedy 2015, section 3.1; docs/folding.md). Each norm moves through the graph as the folds before it left
it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from normdiag.folding.draft import Move, PlanDraft, try_after, try_before, try_beside, try_scale_after, try_scale_before
from normdiag.folding.known_obstacles import known_obstacle
from normdiag.folding.obstacle import Obstacle
from normdiag.folding.situation import start
from normdiag.folding.sources import LAYER_KINDS, FoldSource, find_sources
from normdiag.records import FoldPlan, Norm, NormKind, NormLayer, OpGraph, Refusal

# Characters of what stands in the way in one direction.
LONGEST_REASON = 400
BATCH = frozenset({"batch"})
NOTHING_DENIED: Mapping[int, Refusal] = MappingProxyType({})


def plan_folds(
    graph: OpGraph, norms: frozenset[str] = BATCH, denied: Mapping[int, Refusal] = NOTHING_DENIED
) -> FoldPlan:
    """The plan for the norms asked for: 'batch' (and what has fixed statistics like it), 'layer' (and RMS norm).

    Every such norm gets one step or one refusal, in graph order. Those in `denied`, by op index, stay. Weights are not
    read, so that what does not fit their dtype is not seen here: see checked_plan.
    """
    return planned(graph, norms, denied, {})[0]


def planned(
    graph: OpGraph, norms: frozenset[str], denied: Mapping[int, Refusal], barred: Mapping[tuple[int, int], str]
) -> tuple[FoldPlan, tuple[Move, ...]]:
    """The plan, where `barred` layers do not absorb a norm (op index, layer index: why), and what made each edit."""
    sources = find_sources(graph, norms)
    draft = _draft(graph, [source for source in sources if source.index not in denied], barred)
    stay = [source for source in sources if source.asked and source.index not in draft.steps]
    refusals = [denied.get(source.index) or _refusal(draft, source) for source in stay]
    unreached = [Refusal(layer.name, layer.kind, why) for layer, why in graph.unreached if _asked(layer, norms)]
    plan = FoldPlan(
        steps=tuple(draft.steps[index] for index in sorted(draft.steps)),
        refusals=(*refusals, *unreached),
        edits=dict(sorted(draft.situation.edits.items())),
        removed=tuple(sorted(draft.situation.gone)),
        stripped=tuple(sorted(draft.stripped)),
        shifts=dict(sorted(draft.shifts.items())),
        beside=dict(sorted(draft.beside.items())),
        norms=sum(source.asked for source in sources) + len(unreached),
        not_asked={} if "layer" in norms else Counter(_with_parameters(graph)),
    )
    return plan, tuple(draft.moves)


def _with_parameters(graph: OpGraph) -> Iterator[NormKind]:
    """The kinds of the LayerNorms and RMSNorms that have a gamma or beta."""
    norms = (op.detail for op in graph.ops if isinstance(op.detail, Norm))
    return (norm.layer.kind for norm in norms if norm.layer.kind in LAYER_KINDS and (norm.gamma or norm.beta))


def _draft(graph: OpGraph, sources: list[FoldSource], barred: Mapping[tuple[int, int], str]) -> PlanDraft:
    """Upstream in graph order, so that a norm finds those before it gone; downstream against it, likewise.

    First without norms that may still go themselves among the layers: what one absorbs can stand in its own way, as a
    negative scale does before a maximum. Then into those as well. Those beside a convolution come next, when it has
    absorbed its own norm. Scales alone come last, in graph order again: a norm whose shift stays absorbs no more. Where
    the code is fixed, a LayerNorm too can lose gamma alone: its beta becomes beta / gamma.
    """
    draft = PlanDraft(start(graph, barred))
    for waiting in ({source.index for source in sources if source.whole}, set[int]()):
        draft.situation.waiting = waiting
        for source in sources:
            if source.whole and source.index not in draft.steps:
                try_before(draft, source)
        for source in reversed(sources):
            if source.index not in draft.steps:
                try_after(draft, source)
    for attempt in (try_beside, try_scale_after, try_scale_before):
        for source in sources:
            beta_stays = attempt is try_scale_after and graph.fixed
            if source.index not in draft.steps and source.asked and (source.whole or beta_stays):
                attempt(draft, source)
    return draft


def _refusal(draft: PlanDraft, source: FoldSource) -> Refusal:
    after = draft.after.get(source.index)
    if after is not None and not source.whole and source.index not in draft.before:
        after = known_obstacle(draft.situation, source.index) or after
    found = [draft.before.get(source.index), after]
    reasons = list(dict.fromkeys(obstacle for obstacle in found if obstacle))
    return Refusal(source.name, source.kind, _clause(reasons), next((each.at for each in reasons if each.at), None))


def _clause(reasons: list[Obstacle]) -> str:
    """Both directions in one clause, each without its middle where names make it too long to read."""
    return ", and ".join(_short(each.reason) for each in reasons)


def _short(reason: str) -> str:
    if len(reason) <= LONGEST_REASON:
        return reason
    return f"{reason[: LONGEST_REASON // 2]}…{reason[-(LONGEST_REASON // 2) :]}"


def _asked(layer: NormLayer, norms: frozenset[str]) -> bool:
    if layer.kind in LAYER_KINDS:
        return "layer" in norms
    return "batch" in norms and (layer.kind == "batch_norm" or layer.has_statistics)
