"""Programs without in-place operations: only in those can a norm be taken out without looking at who shares memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from normdiag.errors import InputError
from normdiag.folding.pytorch.editor import ProgramEditor
from normdiag.graph.importers.torch_export.aliases import changed_tensors, is_in_place
from normdiag.models.pytorch.quiet import quiet
from normdiag.models.pytorch.torch_private import OpOverload, schema_of


def functional(program: ExportedProgram) -> ExportedProgram:
    """The program with every in-place operation replaced by one that returns its result; itself where there is none.

    One on a tensor that nobody else sees, as nearly all are, is exchanged for its plain form. For others torch rewrites
    the whole program, which puts some operations down to other modules. Raises InputError where torch cannot do that.
    """
    program = _exchanged(program)
    if not any(is_in_place(node) for graph in _graphs(program) for node in graph.nodes):
        return program
    try:
        with quiet():
            decomposed: ExportedProgram = program.run_decompositions({})
            return decomposed
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"torch.export cannot rid this program of in-place operations: {reason}") from error


def in_plain_form(graph: fx.Graph) -> None:
    """Exchange, in this graph itself, each in-place operation on a tensor that nobody else sees for its plain form."""
    for node, form in _plain_forms(graph).items():
        node.target = form


def _exchanged(program: ExportedProgram) -> ExportedProgram:
    plain = _plain_forms(program.graph)
    if not plain:
        return program
    editor = ProgramEditor(program)
    for node, form in plain.items():
        editor.node(node.name).target = form
    return editor.finish()


def _plain_forms(graph: fx.Graph) -> dict[fx.Node, OpOverload]:
    changed = changed_tensors(graph.nodes)
    return {
        node: form for node in graph.nodes if is_in_place(node) and not _shows(node, changed) and (form := _plain(node))
    }


def _shows(node: fx.Node, changed: Any) -> bool:
    return any(each in changed for each in node.all_input_nodes)


def _plain(node: fx.Node) -> OpOverload | None:
    """relu for relu_: where it takes the same arguments and returns the same dtype."""
    assert isinstance(node.target, OpOverload)
    namespace, _, name = schema_of(node.target).name.partition("::")
    packet = getattr(getattr(torch.ops, namespace), name.removesuffix("_"), None)
    form = getattr(packet, node.target._overloadname or "default", None)
    if not isinstance(form, OpOverload) or schema_of(form).is_mutable:
        return None
    arguments = [[each.name for each in schema_of(operator).arguments] for operator in (node.target, form)]
    dtypes = {value.dtype for each in node.all_input_nodes if isinstance(value := each.meta.get("val"), Tensor)}
    return form if arguments[0] == arguments[1] and len(dtypes) == 1 else None


def _graphs(program: ExportedProgram) -> Iterator[fx.Graph]:
    """The program's graph and those of the regions in it."""
    return (each.graph for each in program.graph_module.modules() if isinstance(each, fx.GraphModule))
