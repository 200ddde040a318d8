"""Names of operations: as the exporter left them, unique, and for normalization layers those of `inspect`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace

from normdiag.graph.importers.onnx.names import Namer, module_path, parameter_prefix, unique
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.records import Detail, Op, Parameter, ScaleShift

# Operations that stand for a module of their own; others are calls inside of one.
MODULES = frozenset({"conv", "conv_transpose", "linear", "norm", "activation"})


def operation_name(kind: str, node: Node, detail: Detail, namer: Namer) -> str:
    """Module path, prefix of the parameters, node name or, failing all, the name of the first output."""
    path = module_path(node)
    names = [each.name for each in parameters(detail)]
    if kind in MODULES and (path is not None or any(map(parameter_prefix, names))):
        return namer.name(node, names, node.op.lower())
    if path is not None:
        return f"{path}.{node.op.lower()}".lstrip(".")
    return node.name or next((name for name in node.outputs if name), "") or f"{node.op.lower()}_{node.index}"


def parameters(detail: Detail) -> list[Parameter]:
    """The parameters of an operation."""
    values = (getattr(detail, field.name) for field in fields(detail))
    return [value for value in values if isinstance(value, Parameter)]


def uniquely_named(ops: Sequence[Op], taken: Iterable[str]) -> tuple[Op, ...]:
    """The same operations, each with a name of its own; norms keep theirs, which are unique and not `taken`."""
    first = list(dict.fromkeys(taken))
    order = sorted(range(len(ops)), key=lambda i: ops[i].kind != "norm")
    names = dict(zip(order, unique([*first, *(ops[i].name for i in order)])[len(first) :], strict=True))
    return tuple(_named(op, names[i]) for i, op in enumerate(ops))


def _named(op: Op, name: str) -> Op:
    if isinstance(op.detail, ScaleShift) and op.detail.norm is not None:
        return replace(op, name=name, detail=replace(op.detail, norm=replace(op.detail.norm, name=name)))
    return replace(op, name=name)
