"""Runs of elementwise maps with constants become one: a BatchNorm that was written out, for one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch.fx import Node

from normdiag.graph.eval_norm import NOT_TOLD
from normdiag.graph.importers.torch_export.calls import module_of, operator_of
from normdiag.graph.importers.torch_export.program import Chain, Draft, Program
from normdiag.records import NormLayer
from normdiag.records.ops import Opaque, ScaleShift

_STATISTICS = {"gamma": "weight", "beta": "bias", "running_mean": "running_mean", "running_var": "running_var"}


def merged_chains(drafts: Iterable[Draft], program: Program) -> list[Draft]:
    """The drafts with every run of ScaleShifts in one module as one."""
    made: dict[str, Draft] = {}
    for draft in drafts:
        before = made.get(draft.inputs[0]) if draft.chain is not None else None
        if before is not None and before.chain is not None and _joins(before, draft, program):
            del made[before.outputs[0]]
            made[_key(draft)] = _joined(before, draft)
        else:
            made[_key(draft)] = draft
    return [_finished(draft, made, program) for draft in made.values()]


def _key(draft: Draft) -> str:
    return next((name for name in draft.outputs if name), f"<{draft.nodes[0].name}>")


def _joins(before: Draft, after: Draft, program: Program) -> bool:
    """Whether nobody but the second reads what the first writes, in one forward of one module, along one axis."""
    axes = {draft.chain.axis for draft in (before, after) if draft.chain is not None} - {None}
    same_module = module_of(before.anchor) == module_of(after.anchor)
    return len(axes) < 2 and same_module and program.readers(before.nodes[-1]) == [after.anchor]


def _joined(before: Draft, after: Draft) -> Draft:
    first, second, chain, last = before.detail, after.detail, before.chain, after.chain
    assert isinstance(first, ScaleShift) and isinstance(second, ScaleShift) and chain and last
    with np.errstate(all="ignore"):
        scale, shift = second.scale * first.scale, second.scale * first.shift + second.shift
    both = Chain(last.axis if chain.axis is None else chain.axis, (*chain.constants, *last.constants))
    detail = ScaleShift(scale, shift, obstacle=first.obstacle or second.obstacle)
    nodes, parameters = (*before.nodes, *after.nodes), (*before.parameters, *after.parameters)
    operator = f"{before.operator}+{after.operator}"
    return replace(
        after, operator=operator, detail=detail, inputs=before.inputs, nodes=nodes, parameters=parameters, chain=both
    )


def _finished(draft: Draft, made: dict[str, Draft], program: Program) -> Draft:
    chain, detail = draft.chain, draft.detail
    if chain is None or not isinstance(detail, ScaleShift):
        return draft
    if not (np.isfinite(detail.scale).all() and np.isfinite(detail.shift).all()):
        return replace(draft, kind="other", detail=Opaque("its numbers overflow"), chain=None)
    if detail.scale.size == 1 or detail.shift.size == 1 or _ends_a_norm(draft, made.get(draft.inputs[0])):
        return draft
    return replace(draft, detail=replace(detail, norm=_layer(draft, chain, detail, program)))


def _ends_a_norm(draft: Draft, before: Draft | None) -> bool:
    """Whether the chain is the gamma and beta of a norm that computes its own moments, written out as well."""
    if before is None or module_of(before.anchor) != module_of(draft.anchor):
        return False
    own_moments = before.kind == "norm" or before.operator in ("mul", "div")
    return own_moments and not isinstance(before.detail, ScaleShift)


def _layer(draft: Draft, chain: Chain, detail: ScaleShift, program: Program) -> NormLayer:
    """A BatchNorm with those of its tensors that go by their usual names, or else as the scale and shift that it is."""
    _, path, class_name = module_of(draft.anchor)
    arrays: dict[str, Any] = {}
    roots = {root for constant in chain.constants for root in program.constants.roots(constant)}
    for root in sorted(roots, key=program.index.__getitem__):
        name = (program.constants.stored_name(root) or "").rpartition(".")[2]
        for ours, theirs in _STATISTICS.items():
            if name == theirs:
                arrays.setdefault(ours, program.array(root))
    notes = () if arrays else (NOT_TOLD,)
    if not arrays:
        arrays = {"gamma": detail.scale.reshape(-1), "beta": detail.shift.reshape(-1)}
    return NormLayer(
        name=path,
        kind="batch_norm",
        origin="decomposed",
        channels=detail.scale.size,
        eps=_eps(chain.constants, program),
        training=False,
        class_name=class_name or None,
        **arrays,
        notes=notes,
    )


def _eps(constants: Sequence[Node], program: Program) -> float | None:
    """The number that is added to a stored tensor, where there is one such."""
    needed = {node for constant in constants for node in program.constants.needed(constant)}
    added = {
        float(node.args[1])
        for node in needed
        if operator_of(node) == "add" and len(node.args) > 1 and isinstance(node.args[1], float)
    }
    return added.pop() if len(added) == 1 else None
