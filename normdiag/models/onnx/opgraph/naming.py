"""Names of operations: as the exporter left them, unique, and for normalization layers those of `inspect`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace

from normdiag.models.onnx.graph import Node
from normdiag.models.onnx.names import Namer, module_path, parameter_prefix, unique
from normdiag.records import Detail, Op, Parameter

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


def uniquely_named(ops: Sequence[Op], fixed: frozenset[str]) -> tuple[Op, ...]:
    """The same operations, each with a name of its own; the names in `fixed` stay with those that have them first."""
    order = sorted(range(len(ops)), key=lambda i: ops[i].name not in fixed or ops[i].kind != "norm")
    names = dict(zip(order, unique(ops[i].name for i in order), strict=True))
    return tuple(replace(op, name=names[i]) for i, op in enumerate(ops))


def fixed_names(names: Iterable[str]) -> frozenset[str]:
    """Names that are given already."""
    return frozenset(names)
