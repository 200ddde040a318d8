"""Runs of elementwise maps with constants become one (see graph.recognise.chains)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch.fx import Node

from normdiag.graph.importers.torch_export.calls import module_of, operator_of
from normdiag.graph.importers.torch_export.program import AnchoredOp, Program
from normdiag.graph.recognise.chains import Chain, Link, chains
from normdiag.records import NormLayer
from normdiag.records.ops import Norm, Opaque, Pass, Reshape, ScaleShift, Transpose

_STATISTICS = {"gamma": "weight", "beta": "bias", "running_mean": "running_mean", "running_var": "running_var"}


def merged_chains(drafts: Sequence[AnchoredOp], program: Program) -> list[AnchoredOp]:
    """The drafts with every run of ScaleShifts in one module as one, where the last of them stood."""
    made = {name: draft for draft in drafts for name in draft.outputs}
    links = {draft.outputs[0]: _link(draft, draft.detail) for draft in drafts if isinstance(draft.detail, ScaleShift)}

    def reader(tensor: str) -> str | None:
        readers = program.readers(made[tensor].nodes[-1])
        return readers[0].name if len(readers) == 1 else None

    found = {chain.links[-1].output: chain for chain in chains(links, reader)}
    result: list[AnchoredOp] = []
    for draft in drafts:
        if not isinstance(draft.detail, ScaleShift):
            result.append(draft)
        elif draft.outputs[0] in found:
            result.append(_joined(found[draft.outputs[0]], made, program))
    return result


def _link(draft: AnchoredOp, detail: ScaleShift) -> Link:
    ends, frame = (draft.inputs[0], draft.outputs[0]), module_of(draft.anchor)
    return Link(*ends, draft.operator, detail.scale, detail.shift, detail.obstacle, frame)


def _joined(chain: Chain, made: dict[str, AnchoredOp], program: Program) -> AnchoredOp:
    parts, composed = [made[link.output] for link in chain.links], chain.composed()
    nodes = tuple(node for part in parts for node in part.nodes)
    parameters = tuple(node for part in parts for node in part.parameters)
    whole = replace(parts[-1], operator=chain.operator, inputs=parts[0].inputs, nodes=nodes, parameters=parameters)
    if composed is None:
        return replace(whole, kind="other", detail=Opaque("its numbers overflow"))
    ends = _ends_a_norm(whole, made)
    layer = _layer(whole, chain.layer(*composed), program) if chain.is_norm and not ends else None
    return replace(whole, detail=ScaleShift(*composed, layer, chain.obstacle))


def _ends_a_norm(draft: AnchoredOp, made: Mapping[str, AnchoredOp]) -> bool:
    """Whether the chain is the gamma and beta of a norm that computes its own moments, written out as well.

    They may be a module of their own. What only divides by something must be in the module of the chain.
    """
    before = made.get(draft.inputs[0])
    same = before is not None and module_of(before.anchor) == module_of(draft.anchor)
    if before is not None and same and before.operator in ("mul", "div"):
        return not isinstance(before.detail, ScaleShift)
    while before is not None and isinstance(before.detail, Pass | Reshape | Transpose):
        before = made.get(before.inputs[0])
    return before is not None and isinstance(before.detail, Norm) and (before.detail.scale is None or same)


def _layer(draft: AnchoredOp, plain: NormLayer, program: Program) -> NormLayer:
    """With those of its tensors that go by their usual names, or else as the scale and shift that it is."""
    _, path, class_name = module_of(draft.anchor)
    arrays: dict[str, Any] = {}
    roots = {root for constant in draft.parameters for root in program.constants.roots(constant)}
    for root in sorted(roots, key=program.index.__getitem__):
        name = (program.constants.stored_name(root) or "").rpartition(".")[2]
        for ours, theirs in _STATISTICS.items():
            if name == theirs:
                arrays.setdefault(ours, program.array(root))
    named = replace(plain, name=path, eps=_eps(draft.parameters, program), class_name=class_name or None)
    return replace(named, **{"gamma": None, "beta": None, "notes": (), **arrays}) if arrays else named


def _eps(constants: Sequence[Node], program: Program) -> float | None:
    """The number that is added to a stored tensor, where there is one such."""
    needed = {node for constant in constants for node in program.constants.needed(constant)}
    added = {
        float(node.args[1])
        for node in needed
        if operator_of(node) == "add" and len(node.args) > 1 and isinstance(node.args[1], float)
    }
    return added.pop() if len(added) == 1 else None
