"""From an exported program to an OpGraph."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from torch.export import ExportedProgram
from torch.fx import Node

from normdiag.graph.importers.torch_export import elementwise, linear, norms, selects, shapes, windows
from normdiag.graph.importers.torch_export.calls import (
    call_of,
    dtype_name,
    dtype_of,
    is_tensor,
    parts_of,
    reads_shape_only,
    sizes_of,
)
from normdiag.graph.importers.torch_export.chains import merged_chains
from normdiag.graph.importers.torch_export.choices import choices_joined
from normdiag.graph.importers.torch_export.composites import composites
from normdiag.graph.importers.torch_export.constants import ReadStored
from normdiag.graph.importers.torch_export.names import named
from normdiag.graph.importers.torch_export.opaque import opaque
from normdiag.graph.importers.torch_export.program import AnchoredOp, Program
from normdiag.graph.importers.torch_export.subgraphs import unreached_norms
from normdiag.records import OpGraph
from normdiag.records.opgraph import Op
from normdiag.records.ops import Norm, Opaque, Parameter, Sizes, Split

_HANDLERS = {
    **elementwise.HANDLERS,
    **linear.HANDLERS,
    **norms.HANDLERS,
    **selects.HANDLERS,
    **shapes.HANDLERS,
    **windows.HANDLERS,
}
OUTPUT = "the output"


def torch_graph(exported: ExportedProgram, read: ReadStored | None = None) -> OpGraph:
    """The computation of an exported program, as `torch.export.export` gives it or decomposed.

    Tensors have the names of their FX nodes, `Op.nodes` are indexes into `list(exported.graph.nodes)`. The name of a
    Parameter is that of the node that the op reads: a placeholder (see `stored_name`), or a node that computes it from
    constants alone, as parametrized weights and transposes are. Parts of a decomposed operator (channel_shuffle) have
    tensors between them that exist in no file. `read` gives the values of stored tensors by name where the program does
    not hold them itself. Raises InputError where a value that is needed cannot be had.
    """
    program = Program(exported, read)
    drafts = merged_chains(choices_joined(_equal_splits_joined(_drafts(program)), program), program)
    drafts = [_left_alone(draft, program) for draft in drafts]
    ops = [_op(name, draft, program) for name, draft in named(drafts, program)]
    return OpGraph(
        ops=_with_sharing(ops, program),
        inputs=tuple(node.name for node in program.nodes if node.name in program.user_inputs and is_tensor(node)),
        outputs=tuple(dict.fromkeys(each.name for each in _output_nodes(program) if each not in program.constants)),
        sizes=_sizes(drafts, program),
        dtypes={node.name: dtype_name(dtype_of(node)) for node in program.nodes if is_tensor(node)},
        pinned=_pinned(drafts, program),
        unreached=unreached_norms(program),
    )


def _drafts(program: Program) -> list[AnchoredOp]:
    whole = composites(program)
    inside = {node for draft in whole.values() for node in draft.nodes}
    drafts: list[AnchoredOp] = []
    taken: set[Node] = set()
    for node in program.nodes:
        if node in whole:
            drafts.append(whole[node])
        elif node not in inside and node not in taken:
            found = _of_node(node, program)
            taken.update(each for draft in found for each in draft.nodes)
            drafts += found
    known: dict[tuple[str, ...], AnchoredOp] = {}
    for draft in drafts:
        known.setdefault(draft.outputs, draft)  # a constant that is a branch of several sums is one Op
    return list(known.values())


def _of_node(node: Node, program: Program) -> tuple[AnchoredOp, ...]:
    if node in program.constants or node.op in ("output", "get_attr") or node.name in program.user_inputs:
        return ()
    if node.target is operator.getitem and not node.users:
        return ()
    if node.op == "placeholder":
        return opaque(node, program) if is_tensor(node) else ()
    call = call_of(node)
    handler = None if reads_shape_only(node) else _HANDLERS.get(call.operator)
    found = handler(call, program) if handler is not None and (is_tensor(node) or parts_of(node)) else None
    return opaque(node, program) if found is None else found


def _equal_splits_joined(drafts: Iterable[AnchoredOp]) -> list[AnchoredOp]:
    """Decomposing gives every part of a split a split of its own: one Op again."""
    result: list[AnchoredOp] = []
    first: dict[tuple[Any, ...], int] = {}
    for draft in drafts:
        detail = draft.detail
        if not isinstance(detail, Split):
            result.append(draft)
            continue
        at = first.setdefault((draft.inputs, detail.axis, detail.parts), len(result))
        pairs = list(zip(result[at].outputs, draft.outputs, strict=True)) if at < len(result) else []
        if not pairs or any(old and new for old, new in pairs):
            result.append(draft)
        else:
            outputs = tuple(old or new for old, new in pairs)
            result[at] = replace(result[at], outputs=outputs, nodes=(*result[at].nodes, *draft.nodes))
    return result


def _left_alone(draft: AnchoredOp, program: Program) -> AnchoredOp:
    """What touches a tensor that changes after it was made takes no part in folding."""
    changed = {node.name: writer for node, writer in program.changed.items()}
    writer = next((changed[name] for name in (*draft.inputs, *draft.outputs) if name in changed), None)
    if writer is None or isinstance(draft.detail, Opaque):
        return draft
    if isinstance(draft.detail, Norm):
        return replace(draft, detail=replace(draft.detail, obstacle=f"'{writer.name}' changes its data in place"))
    return replace(draft, kind="other", detail=Opaque(f"its data is changed in place by '{writer.name}'"))


def _op(name: str, draft: AnchoredOp, program: Program) -> Op:
    nodes = tuple(sorted({program.index[node] for node in draft.nodes}))
    return Op(name, draft.kind, draft.operator, draft.inputs, draft.outputs, draft.detail, nodes)


def _with_sharing(ops: Sequence[Op], program: Program) -> tuple[Op, ...]:
    """Every Parameter with the names of the other ops that read what it is stored in."""
    owner = {program.nodes[index]: op.name for op in ops for index in op.nodes if op.kind != "constant"}
    readers: defaultdict[object, dict[str, None]] = defaultdict(dict)
    for node in program.nodes:
        if node in program.constants or reads_shape_only(node):
            continue
        name = OUTPUT if node.op == "output" else owner.get(node, node.name)
        for constant in (each for each in node.all_input_nodes if each in program.constants):
            for root in program.constants.roots(constant):
                readers[program.constants.storage(root)][name] = None
    by_name = {node.name: node for node in program.nodes if node in program.constants}

    def shared(op: Op, parameter: Parameter) -> Parameter:
        node = by_name.get(parameter.name)
        roots = () if node is None else program.constants.roots(node)
        others = {name: None for root in roots for name in readers[program.constants.storage(root)]}
        mine = {op.name, *(each.name for each in ops if op.kind == "constant" and op.outputs[0] in each.inputs)}
        return replace(parameter, shared_with=tuple(name for name in others if name not in mine))

    return tuple(replace(op, detail=_mapped(op, shared)) for op in ops)


def _mapped(op: Op, change: Any) -> Any:
    values = {field.name: getattr(op.detail, field.name) for field in fields(op.detail)}
    found = {name: change(op, value) for name, value in values.items() if isinstance(value, Parameter)}
    return replace(op.detail, **found) if found else op.detail


def _sizes(drafts: Iterable[AnchoredOp], program: Program) -> Mapping[str, Sizes]:
    known = {node.name: sizes_of(node) for node in program.nodes if is_tensor(node)}
    return known | {name: sizes for draft in drafts for name, sizes in draft.sizes.items()}


def _pinned(drafts: Iterable[AnchoredOp], program: Program) -> Mapping[str, str]:
    """Tensors that change in place, and data that serve as parameters."""
    changed = {node.name: f"'{writer.name}' changes it in place" for node, writer in program.changed.items()}
    used = {
        node.name: f"it is a parameter of '{draft.anchor.name}'"
        for draft in drafts
        for node in draft.parameters
        if node not in program.constants and node.name not in program.user_inputs
    }
    return {**used, **changed}


def _output_nodes(program: Program) -> tuple[Node, ...]:
    return tuple(program.nodes[-1].all_input_nodes)
