"""The graph as it stands while norms are being folded: who reads what, what is gone, what each layer has absorbed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from normdiag.folding.affine import compose, identity, placed, rank
from normdiag.folding.branches import shift_takers
from normdiag.folding.targets import norm_axes
from normdiag.records import Affine, Conv, LayerEdit, Norm, Op, OpGraph, Parameter, ScaleShift
from normdiag.records.model import Array


@dataclass
class Situation:
    """Changes as the plan grows; a walk only reads it, except for `steps_left`, which bounds all walks together.

    `gone` are ops that hand their input on unchanged from now on, `settled` those that nothing more is done to.
    `waiting` are norms that may still go themselves, and take nothing up until then. `shortened` are sums that lost a
    term. `barred` says which layers must not absorb a norm (op index, layer index), and why.
    """

    graph: OpGraph
    barred: Mapping[tuple[int, int], str] = field(default_factory=dict)
    producers: dict[str, int] = field(default_factory=dict)
    readers: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    edits: dict[int, LayerEdit] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)
    waiting: set[int] = field(default_factory=set)
    shortened: set[int] = field(default_factory=set)
    steps_left: int = 0
    outputs: frozenset[str] = frozenset()
    shift_takers: frozenset[str] = frozenset()

    def spent(self, cost: int) -> bool:
        """Count one step of a walk, and say whether all that were granted are used up."""
        self.steps_left -= 1 + cost
        return self.steps_left < 0

    def op(self, index: int) -> Op:
        """The operation at this place."""
        return self.graph.ops[index]

    def rank(self, tensor: str) -> int | None:
        """How many axes a tensor has, where that is known."""
        if tensor in self.graph.sizes:
            return len(self.graph.sizes[tensor])
        producer = self.producers.get(tensor)
        detail = None if producer is None else self.op(producer).detail
        return len(detail.weight.shape) if isinstance(detail, Conv) else None


def start(graph: OpGraph, barred: Mapping[tuple[int, int], str]) -> Situation:
    """Nothing folded yet."""
    situation = Situation(
        graph,
        barred,
        steps_left=100_000 + 40 * len(graph.ops),
        outputs=frozenset(graph.outputs),
        shift_takers=shift_takers(graph),
    )
    for index, op in enumerate(graph.ops):
        for name in op.outputs:
            situation.producers[name] = index
        for name in op.inputs:
            situation.readers[name].append(index)
    return situation


def own_map(op: Op, rank: int) -> Affine | None:
    """What a foldable norm or a ScaleShift does by itself to data of this rank; None where that does not fit."""
    match op.detail:
        case Norm(scale=scale, shift=shift, axis=axis) if scale is not None and shift is not None:
            return Affine(placed(scale, axis, rank), placed(shift, axis, rank)) if -rank <= axis < rank else None
        case Norm(gamma=Parameter() as gamma, beta=beta) as norm:
            axes = norm_axes(norm, rank)
            if axes is None or len(axes) != len(gamma.shape):
                return None
            shift = np.zeros((1,) * rank) if beta is None else _laid(beta, axes, rank)
            return Affine(_laid(gamma, axes, rank), shift)
        case ScaleShift(scale=scale, shift=shift) if scale.ndim == shift.ndim == rank:
            return Affine(np.asarray(scale, np.float64), np.asarray(shift, np.float64))
    return None


def _laid(parameter: Parameter, axes: tuple[int, ...], rank: int) -> Array:
    """Gamma or beta along its axes of the data."""
    values = np.asarray(parameter.read(), np.float64)
    kept = values.reshape((1,) * (len(axes) - values.ndim) + values.shape)
    return np.expand_dims(kept, tuple(axis for axis in range(rank) if axis not in axes))


def edited_map(own: Affine, edit: LayerEdit | None) -> Affine:
    """The map with what its op has absorbed."""
    none = identity(rank(own))
    inner, outer = (edit.inner or none, edit.outer or none) if edit else (none, none)
    return compose(compose(inner, own), outer)


def with_outer(edit: LayerEdit | None, affine: Affine) -> LayerEdit:
    """One more map after what the layer gives."""
    if edit is None:
        return LayerEdit(outer=affine)
    return replace(edit, outer=compose(edit.outer, affine) if edit.outer else affine)


def with_inner(edit: LayerEdit | None, affine: Affine) -> LayerEdit:
    """One more map ahead of what the layer takes."""
    if edit is None:
        return LayerEdit(inner=affine)
    return replace(edit, inner=compose(affine, edit.inner) if edit.inner else affine)


def with_added(edit: LayerEdit | None, affine: Affine, sign: int) -> LayerEdit:
    """One more map of what the layer takes, added to or subtracted from what it gives."""
    before = edit.added if edit and edit.added else Affine(np.zeros_like(affine.scale), np.zeros_like(affine.shift))
    added = Affine(before.scale + sign * affine.scale, before.shift + sign * affine.shift)
    return replace(edit or LayerEdit(), added=added)
