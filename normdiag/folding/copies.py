"""Parameters that other operations read too: a layer that is edited gets a copy of its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from normdiag.folding.affine import is_identity, shifts
from normdiag.folding.floats import as_dtype
from normdiag.folding.weights import changes_weight
from normdiag.records import Constant, Conv, Copied, FoldPlan, LayerEdit, Linear, Norm, Op, OpGraph, Parameter


def copies_of(graph: OpGraph, plan: FoldPlan) -> FoldPlan:
    """The plan with its copies.

    Where everybody who reads a tensor gets new values, the first takes its place and only the others cost something.
    """
    changed = [(op, p) for op, p in _changed(graph, plan) if p.shared_with]
    edited = Counter(parameter.name for _, parameter in changed)
    leaving = {graph.ops[index].name for index in (*plan.removed, *plan.stripped, *plan.shifts, *plan.beside)}
    copies = []
    for op, parameter in changed:
        others = tuple(name for name in parameter.shared_with if name not in leaving)
        if edited[parameter.name] > len(others):
            edited[parameter.name] = 0  # nobody reads the old values any more
            continue
        bytes_ = math.prod(parameter.shape) * as_dtype(parameter.dtype).itemsize
        name = graph.stored.get(parameter.name, parameter.name)
        copies.append(Copied(name, op.name, parameter.shared_with, bytes_))
    return replace(plan, copies=tuple(copies))


def _changed(graph: OpGraph, plan: FoldPlan) -> Iterator[tuple[Op, Parameter]]:
    for index, edit in plan.edits.items():
        op = graph.ops[index]
        yield from ((op, parameter) for parameter in _rewritten(op, edit) if parameter is not None)


def _rewritten(op: Op, edit: LayerEdit) -> tuple[Parameter | None, ...]:
    """The parameters of a layer that get other values."""
    match op.detail:
        case Conv(weight=weight, bias=bias) | Linear(weight=weight, bias=bias):
            inner = any(side is not None and shifts(side) for side in (edit.inner, edit.added))
            outer = edit.outer is not None and not is_identity(edit.outer)
            return (weight if changes_weight(edit) else None, bias if inner or outer else None)
        case Norm(gamma=gamma, beta=beta):
            return gamma, beta
        case Constant(value=value):
            return (value,)
    return ()
