"""Norms inside the branches of torch.cond and the like, where no edit is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.fx import GraphModule, Node

from normdiag.graph.importers.torch_export.calls import call_of, module_of, operator_of
from normdiag.graph.importers.torch_export.norms import HANDLERS
from normdiag.graph.importers.torch_export.program import Program
from normdiag.records import NormKind, NormLayer

_KINDS: tuple[NormKind, ...] = ("batch_norm", "instance_norm", "group_norm", "layer_norm", "rms_norm")


def unreached_norms(program: Program) -> tuple[tuple[NormLayer, str], ...]:
    """Every norm in a subgraph of the program, with the reason why it is not folded."""
    found = []
    for node in program.nodes:
        graph = getattr(program.exported.graph_module, str(node.target), None) if node.op == "get_attr" else None
        if isinstance(graph, GraphModule):
            user = next(iter(node.users), node)
            reason = f"it is in a subgraph of '{user.name}' ({operator_of(user)}), where nothing is edited"
            found += [(layer, reason) for layer in _norms(graph, user.name)]
    return tuple(found)


def _norms(graph: GraphModule, within: str) -> Iterator[NormLayer]:
    for node in graph.graph.nodes:
        inner: Any = getattr(graph, str(node.target), None) if node.op == "get_attr" else None
        if isinstance(inner, GraphModule):
            yield from _norms(inner, within)
        elif node.op == "call_function" and operator_of(node) in HANDLERS:
            yield _layer(node, within)


def _layer(node: Node, within: str) -> NormLayer:
    call = call_of(node)
    kind = next(each for each in _KINDS if each in call.operator)
    _, path, class_name = module_of(node)
    eps = call.args.get("eps")
    return NormLayer(
        name=path or f"{within}.{node.name}",
        kind=kind,
        origin="module" if path else "function",
        eps=eps if isinstance(eps, float) else None,
        class_name=class_name or None,
    )
