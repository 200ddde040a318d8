"""Who else reads the stored tensor after a parameter, also through transposes and casts of constants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import islice
from typing import Any

from normdiag.graph.importers.onnx.parameters import READS_NO_VALUES
from normdiag.graph.importers.onnx.scope import GraphScope, captured
from normdiag.records import Op, Parameter

# Enough to say who; one tensor may be shared by thousands.
MAX_NAMES = 16
IN_SUBGRAPH = "a subgraph"
IN_OUTPUT = "the graph output"
IN_CONSTANT = "a constant of the graph"


def with_sharing(ops: Sequence[Op], scope: GraphScope) -> tuple[Op, ...]:
    """The same operations; each parameter knows the others that read what it is made of."""
    readers = _readers(ops, scope)
    elsewhere = _elsewhere(scope)
    return tuple(_shared(op, readers, elsewhere, scope) for op in ops)


def _shared(op: Op, readers: Mapping[str, Counter[str]], elsewhere: Mapping[str, list[str]], scope: GraphScope) -> Op:
    changed: dict[str, Any] = {}
    for field in fields(op.detail):
        value = getattr(op.detail, field.name)
        if isinstance(value, Parameter):
            names = tuple(dict.fromkeys(islice(_others(op, value, readers, elsewhere, scope), MAX_NAMES)))
            if names:
                changed[field.name] = replace(value, shared_with=names)
    return replace(op, detail=replace(op.detail, **changed)) if changed else op


def _others(
    op: Op, value: Parameter, readers: Mapping[str, Counter[str]], elsewhere: Mapping[str, list[str]], scope: GraphScope
) -> Iterator[str]:
    """An operation that reads the tensor twice shares it with itself."""
    for stored in sorted(scope.store.stored.get(value.name, frozenset())):
        for name, count in readers.get(stored, Counter()).items():
            if name != op.name or count > 1:
                yield name
        yield from elsewhere.get(stored, ())
        if stored in scope.store.crowded:
            yield IN_CONSTANT


def _readers(ops: Sequence[Op], scope: GraphScope) -> Mapping[str, Counter[str]]:
    """By stored tensor: the operations that read it, and how often. Data that a Constant op hands out is its own."""
    readers: dict[str, Counter[str]] = {}
    handed = {op.outputs[0]: op.name for op in ops if op.kind == "constant" and op.outputs}
    for op in ops:
        if op.kind == "constant":
            continue
        branches = Counter(name for name in op.inputs if name in handed)
        for index in op.nodes:
            node = scope.graph.nodes[index]
            for name in () if node.op in READS_NO_VALUES else node.inputs:
                if branches[name] > 0:
                    branches[name] -= 1
                    _count(readers, scope, name, handed[name])
                else:
                    _count(readers, scope, name, op.name)
    return readers


def _count(readers: dict[str, Counter[str]], scope: GraphScope, name: str, reader: str) -> None:
    for stored in scope.store.stored.get(name, ()):
        readers.setdefault(stored, Counter())[reader] += 1


def _elsewhere(scope: GraphScope) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in captured(scope.graph):
        for stored in scope.store.stored.get(name, ()):
            found.setdefault(stored, []).append(IN_SUBGRAPH)
    for output in scope.graph.proto.output:
        for stored in scope.store.stored.get(output.name, ()):
            found.setdefault(stored, []).append(IN_OUTPUT)
    return found
