"""A plan whose numbers fit: what overflows or loses precision in the stored dtype is planned again without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from normdiag.folding.affine import same
from normdiag.folding.checks import Peaks, misfit
from normdiag.folding.copies import copies_of
from normdiag.folding.draft import Move
from normdiag.folding.plan import BATCH, NOTHING_DENIED, planned
from normdiag.records import Affine, FoldPlan, LayerEdit, OpGraph, Refusal

# After so many plans, a layer that still does not fit absorbs nothing at all.
PATIENCE = 8


def checked_plan(
    graph: OpGraph,
    norms: frozenset[str] = BATCH,
    denied: Mapping[int, Refusal] = NOTHING_DENIED,
    peaks: Peaks | None = None,
) -> FoldPlan:
    """The plan of plan_folds with weights looked at, one layer at a time, and with the copies that it makes.

    A layer whose new parameters would not fit its dtype does not absorb the norm that is to blame: that one goes
    another way or stays, and the rest is planned again. `peaks` keeps what was read of the weights.
    """
    look = _Look(graph, peaks or Peaks())
    barred: dict[tuple[int, int], str] = {}
    known: dict[int, tuple[LayerEdit, str | None]] = {}
    rounds = 0
    while True:
        plan, moves = planned(graph, norms, denied, barred)
        misfits = _misfits(look, plan, known)
        if not misfits:
            return copies_of(graph, plan)
        rounds += 1
        for layer, why in misfits.items():
            history = [move for move in moves if move.layer == layer]
            guilty = history if rounds > PATIENCE else [_to_blame(look, history)]
            barred.update({(move.source, layer): why for move in guilty})


@dataclass(frozen=True, eq=False)
class _Look:
    """Whether layers of a graph can store what edits make of them."""

    graph: OpGraph
    peaks: Peaks

    def misfit(self, layer: int, edit: LayerEdit) -> str | None:
        """Why not, None where they can."""
        op = self.graph.ops[layer]
        return misfit(op, edit, self.graph.dtypes.get(op.outputs[0], "float32"), self.peaks)


def _misfits(look: _Look, plan: FoldPlan, known: dict[int, tuple[LayerEdit, str | None]]) -> dict[int, str]:
    """Why each layer that does not fit does not; `known` keeps what was found, so that no layer is read again."""
    for layer, edit in plan.edits.items():
        if layer not in known or not _same_edit(known[layer][0], edit):
            known[layer] = edit, look.misfit(layer, edit)
    found = {layer: known[layer][1] for layer in plan.edits}
    return {layer: why for layer, why in found.items() if why}


def _to_blame(look: _Look, history: Sequence[Move]) -> Move:
    """The move since which the layer has not fitted."""
    guilty = history[-1]
    for move in reversed(history[:-1]):
        if look.misfit(move.layer, move.edit) is None:
            break
        guilty = move
    return guilty


def _same_edit(left: LayerEdit, right: LayerEdit) -> bool:
    pairs = ((left.inner, right.inner), (left.outer, right.outer), (left.added, right.added))
    return all(_same_side(*pair) for pair in pairs)


def _same_side(left: Affine | None, right: Affine | None) -> bool:
    return same(left, right) if left and right else left is right
