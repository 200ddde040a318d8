"""Attempts to fold one norm, each as a whole or not at all, on a plan in the making."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from normdiag.folding.affine import scales, scaling
from normdiag.folding.beside import find_beside
from normdiag.folding.floats import limits
from normdiag.folding.obstacle import Obstacle, blocked
from normdiag.folding.situation import Situation, with_added, with_inner, with_outer
from normdiag.folding.sources import FoldSource, source_map
from normdiag.folding.walk import Route, walk_down, walk_up
from normdiag.records import Affine, Beside, FoldStep, LayerEdit, Norm, Op, ScaleShift
from normdiag.records.fold import Direction
from normdiag.records.model import Array

# The largest constant of an Add that still leaves room for the data, as a share of the largest number.
SHIFT_ROOM = 1 / 16


@dataclass(frozen=True)
class Move:
    """One edit of one layer: for which source, and all that the layer had absorbed once it was made."""

    source: int
    layer: int
    edit: LayerEdit


@dataclass
class PlanDraft:
    """`before` and `after` say what stood in the way of a source in either direction, by op index."""

    situation: Situation
    steps: dict[int, FoldStep] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)
    before: dict[int, Obstacle] = field(default_factory=dict)
    after: dict[int, Obstacle] = field(default_factory=dict)
    stripped: set[int] = field(default_factory=set)
    shifts: dict[int, Array] = field(default_factory=dict)
    beside: dict[int, Beside] = field(default_factory=dict)


def try_before(draft: PlanDraft, source: FoldSource) -> None:
    """Fold it into the layers before it."""
    route = _way(draft, source, walk_up, draft.before)
    if route is None:
        return
    _edit_before(draft, source, route)
    _done(draft, source, route, "before")


def try_after(draft: PlanDraft, source: FoldSource) -> None:
    """Fold it into the layers after it; of a layer norm its gamma and beta."""
    route = _way(draft, source, walk_down, draft.after)
    if route is None:
        return
    _edit_after(draft, source, route)
    if not source.whole:
        draft.stripped.add(source.index)
    _done(draft, source, route, "after")


def try_beside(draft: PlanDraft, source: FoldSource) -> None:
    """Fold it into a convolution of the same tensor that it is added to; neither takes anything more up then."""
    affine = _known_map(draft, source)
    found = None if affine is None else find_beside(draft.situation, source.index, affine)
    if affine is None or found is None:
        return
    layer = found.beside.layer
    _edit(draft, source, layer, with_added(draft.situation.edits.get(layer), affine, found.sign))
    draft.situation.edits.pop(source.index, None)
    draft.situation.settled.update((layer, source.index))
    draft.situation.shortened.add(found.beside.shortened)
    draft.beside[source.index] = found.beside
    draft.steps[source.index] = _step(draft.situation, source, Route({layer: affine}), "beside")


def try_scale_after(draft: PlanDraft, source: FoldSource) -> None:
    """Fold its scale alone: scale * x + shift = scale * (x + shift / scale), so that an Add of shift / scale stays.

    Rounding the Add costs no more than rounding the norm did: both are of the size of |scale * x| + |shift|.
    """
    affine = _known_map(draft, source)
    if affine is None or not scales(affine) or not draft.after[source.index].shift_only:
        return
    constant = _alone(draft, source, affine)
    if isinstance(constant, str):
        old = draft.after[source.index]
        draft.after[source.index] = Obstacle(f"{old.reason}; {constant}", old.at)
        return
    route = walk_down(draft.situation, source.index, scaling(affine.scale))
    if isinstance(route, Obstacle):
        draft.after[source.index] = route
        return
    _edit_after(draft, source, route)
    draft.shifts[source.index] = constant
    _done(draft, source, route, "after", shift_stays=True)


def try_scale_before(draft: PlanDraft, source: FoldSource) -> None:
    """Fold its scale alone into the layers before it: the shift, which could not go there, stays as an Add."""
    affine = _known_map(draft, source)
    if affine is None or not scales(affine) or not draft.before[source.index].shift_only:
        return
    route = walk_up(draft.situation, source.index, scaling(affine.scale))
    if isinstance(route, Obstacle):
        draft.before[source.index] = route
        return
    _edit_before(draft, source, route)
    draft.shifts[source.index] = affine.shift
    _done(draft, source, route, "before", shift_stays=True)


def _way(
    draft: PlanDraft,
    source: FoldSource,
    walk: Callable[[Situation, int, Affine], Route | Obstacle],
    refused: dict[int, Obstacle],
) -> Route | None:
    """The layers that can take it; None, with the reason noted in `refused`, where there are none."""
    affine = _known_map(draft, source)
    if affine is None:
        return None
    route = _worth_it(draft, source, walk(draft.situation, source.index, affine))
    if isinstance(route, Obstacle):
        refused[source.index] = route
        return None
    return route


def _worth_it(draft: PlanDraft, source: FoldSource, route: Route | Obstacle) -> Route | Obstacle:
    """A plain scale or shift goes into layers only: two of them made one would be another optimization than folding."""
    if isinstance(route, Obstacle) or source.asked:
        return route
    other = next((op for op in map(draft.situation.op, route.takes) if isinstance(op.detail, Norm | ScaleShift)), None)
    return route if other is None else blocked(other, "it stands at {op}, which is no layer")


def _known_map(draft: PlanDraft, source: FoldSource) -> Affine | None:
    """Its map as it is now; None, with the reason noted, where it has none."""
    affine = source_map(draft.situation, source)
    if isinstance(affine, Affine):
        return affine
    draft.before[source.index] = draft.after[source.index] = affine
    return None


def _alone(draft: PlanDraft, source: FoldSource, affine: Affine) -> Array | str:
    """shift / scale, or why that cannot stand alone."""
    scale, shift = np.broadcast_arrays(affine.scale, affine.shift)
    count = int(((scale == 0) & (shift != 0)).sum())
    if count:
        where = f"{count} channel{'s' if count > 1 else ''}"
        return f"its scale is zero in {where}, so the shift cannot stay alone"
    with np.errstate(over="ignore"):
        constant: Array = np.divide(shift, scale, out=np.zeros(shift.shape), where=scale != 0)
    name = draft.situation.graph.dtypes.get(draft.situation.op(source.index).outputs[0], "float16")
    if np.abs(constant).max(initial=0) > limits(name).largest * SHIFT_ROOM:
        return f"the shift alone would overflow {name}"
    return constant


def _edit_before(draft: PlanDraft, source: FoldSource, route: Route) -> None:
    for layer, each in route.takes.items():
        _edit(draft, source, layer, with_outer(draft.situation.edits.get(layer), each))


def _edit_after(draft: PlanDraft, source: FoldSource, route: Route) -> None:
    for layer, each in route.takes.items():
        _edit(draft, source, layer, with_inner(draft.situation.edits.get(layer), each))


def _edit(draft: PlanDraft, source: FoldSource, layer: int, edit: LayerEdit) -> None:
    draft.situation.edits[layer] = edit
    draft.moves.append(Move(source.index, layer, edit))


def _done(
    draft: PlanDraft, source: FoldSource, route: Route, direction: Direction, *, shift_stays: bool = False
) -> None:
    """Note that it is folded, and the scalar constants on its way with it."""
    _gone(draft, source, _step(draft.situation, source, route, direction, shift_stays=shift_stays))
    _along(draft, route, direction)


def _gone(draft: PlanDraft, source: FoldSource, step: FoldStep) -> None:
    """Note the step; what the op itself had absorbed has gone with it."""
    draft.situation.edits.pop(source.index, None)
    removed = step.whole and not step.shift_stays
    (draft.situation.gone if removed else draft.situation.settled).add(source.index)
    draft.steps[source.index] = step


def _along(draft: PlanDraft, route: Route, direction: Direction) -> None:
    """Lone numbers that went with the norm: each into the layers that lie beyond it."""
    for index in route.along:
        beyond = {layer: each for layer, each in route.takes.items() if (layer > index) == (direction == "after")}
        number = FoldSource(index, draft.situation.op(index).name, "scale_shift", None, asked=False)
        _gone(draft, number, _step(draft.situation, number, Route(beyond), direction))


def _step(
    situation: Situation, source: FoldSource, route: Route, direction: Direction, *, shift_stays: bool = False
) -> FoldStep:
    layers = [situation.op(index) for index in route.takes]
    return FoldStep(
        norm=source.name,
        kind=source.kind,
        direction="norm" if layers and all(map(_is_norm, layers)) else direction,
        into=tuple(dict.fromkeys(op.name for op in layers)),
        through=tuple(dict.fromkeys(situation.op(index).name for index in route.through)),
        channels=source.channels,
        whole=source.whole,
        shift_stays=shift_stays,
    )


def _is_norm(op: Op) -> bool:
    return isinstance(op.detail, Norm) or (isinstance(op.detail, ScaleShift) and op.detail.norm is not None)
