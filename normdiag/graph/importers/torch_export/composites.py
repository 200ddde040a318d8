"""Norms that are several nodes: what torch decomposes InstanceNorm and RMSNorm into, and what people write by hand."""

from __future__ import annotations

from collections.abc import Mapping

from torch.fx import Node

from normdiag.graph.importers.torch_export.calls import Call, call_of, operator_of, rank_of, shape_of, sizes_of
from normdiag.graph.importers.torch_export.norms import BATCH_NORMS, norm_draft, running_norm
from normdiag.graph.importers.torch_export.program import AnchoredOp, Program
from normdiag.graph.importers.torch_export.written_norms import written_norms
from normdiag.graph.sizes import product
from normdiag.records import Size

_VIEWS = ("view", "reshape", "_unsafe_view")
_NAMES = {"gamma": "weight", "beta": "bias", "running_mean": "running_mean", "running_var": "running_var"}


def composites(program: Program) -> Mapping[Node, AnchoredOp]:
    """The drafts of all norms that are several nodes, by the last of these."""
    batch_norms = (node for node in program.nodes if operator_of(node) in BATCH_NORMS)
    drafts = [*(_instance_norm(call_of(node), program) for node in batch_norms), *written_norms(program)]
    return {_last(draft): draft for draft in drafts if draft is not None and _is_closed(draft, program)}


def _last(draft: AnchoredOp) -> Node:
    return next(node for node in draft.nodes if node.name == draft.outputs[0])


def _is_closed(draft: AnchoredOp, program: Program) -> bool:
    """Whether nothing else reads what is inside."""
    inside, last = set(draft.nodes), _last(draft)
    return all(set(program.readers(node)) <= inside for node in inside if node is not last)


def _instance_norm(call: Call, program: Program) -> AnchoredOp | None:
    """A BatchNorm of (1, N C, ...) between two views, with parameters repeated N times."""
    wide, output = call.args["input"], program.single_output(call.node)
    if output is None or not program.is_data(wide) or operator_of(wide) not in _VIEWS:
        return None
    data = call_of(wide).first
    readers = program.readers(output)
    if len(readers) != 1 or operator_of(readers[0]) not in _VIEWS or not program.is_data(data):
        return None
    back = readers[0]
    if sizes_of(back) != sizes_of(data) or not _is_flattened(data, wide):
        return None
    given = {ours: call.args.get(theirs) for ours, theirs in _NAMES.items()}
    repeats = {name: each for name, each in given.items() if isinstance(each, Node)}
    tensors = {ours: _unrepeated(each, data) for ours, each in repeats.items()}
    if any(each is None for each in tensors.values()):
        return None
    training = call.overload == "no_stats" or bool(call.args.get("training", False))
    _, detail, parameters = running_norm(call, program, "instance_norm", tensors, training)
    repeated = tuple(each for each in repeats.values() if each not in program.constants)
    draft = norm_draft(call, back, detail, data, parameters)
    nodes = tuple(dict.fromkeys((*repeated, wide, call.node, output, back)))
    return AnchoredOp(draft.anchor, draft.operator, "norm", detail, draft.inputs, draft.outputs, nodes, parameters)


def _is_flattened(data: Node, wide: Node) -> bool:
    before, after = sizes_of(data), sizes_of(wide)
    if len(before) != len(after) or len(before) < 3:
        return False
    return after[0] == Size(1) and after[1] == product(before[:2]) and after[2:] == before[2:]


def _unrepeated(repeated: Node, data: Node) -> Node | None:
    """The (C,) tensor of which a parameter is copies, one for each sample."""
    if operator_of(repeated) != "repeat":
        return None
    tensor = call_of(repeated).first
    channels = sizes_of(data)[1].known
    is_vector = isinstance(tensor, Node) and rank_of(tensor) == 1 and shape_of(tensor) == (channels,)
    return tensor if is_vector and sizes_of(repeated) == (product(sizes_of(data)[:2]),) else None
