"""Slices that cut a tensor into parts without gap: one Split, as exporters write chunk and channel shuffle."""

from __future__ import annotations

from collections.abc import Iterator

from normdiag.models.onnx.graph import Node
from normdiag.models.onnx.opgraph.attributes import Unclear
from normdiag.models.onnx.opgraph.reshape_rules import cuts
from normdiag.models.onnx.opgraph.scope import Claim, Draft, Scope
from normdiag.records import Split

# (axis, first element, past the last element, the node)
_Part = tuple[int, int, int, Node]


def sliced_splits(scope: Scope, free: set[int]) -> Iterator[Claim]:
    """The complete sets of slices among the nodes that are still free."""
    slices: dict[str, list[Node]] = {}
    for node in scope.graph.nodes:
        if node.op == "Slice" and not node.domain and node.index in free and node.inputs and node.outputs:
            slices.setdefault(node.inputs[0], []).append(node)
    for tensor, nodes in slices.items():
        if len(nodes) > 1 and not scope.store.is_constant(tensor):
            claim = _joined(tensor, [_part(scope, node) for node in nodes], scope)
            if claim is not None:
                yield claim


def _part(scope: Scope, node: Node) -> _Part | None:
    try:
        found = cuts(scope.book, node)
    except (Unclear, ValueError):
        return None
    if len(found) != 1 or not all(scope.is_structure(name) for name in node.inputs[1:] if name):
        return None
    length = scope.book.sizes[node.inputs[0]][found[0].axis].known
    bounds = None if length is None else found[0].bounds(length)
    return None if bounds is None else (found[0].axis, *bounds, node)


def _joined(tensor: str, parts: list[_Part | None], scope: Scope) -> Claim | None:
    known = sorted((part for part in parts if part is not None), key=lambda part: part[1:3])
    if len(known) != len(parts) or len({part[0] for part in known}) != 1:
        return None
    axis = known[0][0]
    edges = [0, *(part[2] for part in known)]
    if [part[1] for part in known] != edges[:-1] or edges[-1] != scope.book.sizes[tensor][axis].known:
        return None
    nodes = tuple(sorted(part[3].index for part in known))
    draft = Draft("split", (tensor,), Split(axis, tuple(part[2] - part[1] for part in known)))
    return Claim(draft, "Slice", tuple(part[3].outputs[0] for part in known), nodes, nodes[0])
