"""Operations that choose elements along an axis, Slice and Gather: alone, and several that read one tensor as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from normdiag.graph.importers.onnx.attributes import Unclear, counted, integer
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.importers.onnx.reshape_rules import cuts
from normdiag.graph.importers.onnx.scope import Claim, GraphScope, Rule, UnnamedOp
from normdiag.graph.recognise.choices import together
from normdiag.records import Pass, Size, Split, Take

# A choice of channels has no more elements than a layer has channels.
MAX_PICKS = 2**16


def _slice(scope: GraphScope, node: Node) -> UnnamedOp:
    """One axis after the other."""
    found = _slices(scope, node)
    if not found:
        return UnnamedOp("identity", (node.inputs[0],), Pass())
    sizes, drafts = list(scope.book.sizes[node.inputs[0]]), []
    for take in found:
        (picks,) = take.picks
        sizes[take.axis] = Size(1, (f"{node.outputs[0]}[{take.axis}]",)) if picks is None else Size(len(picks))
        drafts.append(UnnamedOp("other", (node.inputs[0],), take, sizes=tuple(sizes)))
    return drafts[0].followed_by(*drafts[1:])


def _slices(scope: GraphScope, node: Node) -> list[Take]:
    """Without the axes that are kept whole."""
    before, after = scope.book.sizes[node.inputs[0]], scope.book.of(node.outputs[0])
    same = {axis for axis, size in enumerate(before) if after is not None and after[axis] == size}
    found = cuts(scope.book, node)
    if len({cut.axis for cut in found}) < len(found):
        raise Unclear("which names an axis twice")
    return [Take(c.axis, (c.elements(before[c.axis]),)) for c in found if c.step != 1 or c.axis not in same]


def _gather(scope: GraphScope, node: Node) -> UnnamedOp:
    """The choice of positions, as the token that stands for all in a transformer."""
    return UnnamedOp("other", (node.inputs[0],), _gathered(scope, node))


def _gathered(scope: GraphScope, node: Node) -> Take:
    if scope.store.is_constant(node.inputs[0]) or not scope.store.is_constant(node.input(1)):
        raise Unclear("a lookup")
    index, sizes = scope.book.shape(node.input(1)), scope.book.of(node.inputs[0])
    if sizes is None:
        raise Unclear("a lookup in a tensor of unknown rank")
    if index is None or len(index) > 1:
        raise Unclear("a lookup by more than one row of numbers")
    axis = counted(integer(node, "axis", 0), len(sizes))
    return Take(axis, (_indices(scope, node, sizes[axis].known),), removed=not index)


def _indices(scope: GraphScope, node: Node, size: int | None) -> tuple[int, ...] | None:
    values = scope.store.constants.array(node.input(1), MAX_PICKS)
    if values is None or values.dtype.kind not in "iu" or size is None:
        return None
    if values.size and not -size <= values.min() <= values.max() < size:
        raise Unclear("a lookup out of range")
    return tuple((values.reshape(-1).astype(np.int64) % max(size, 1)).tolist())


CHOICE_RULES: Mapping[str, Rule] = {"Slice": _slice, "Gather": _gather}


def choices_together(scope: GraphScope, free: set[int]) -> Iterator[Claim]:
    """All choices along one axis of a tensor, among the nodes that are still free, where there are several."""
    found: dict[tuple[str, int, bool], list[tuple[Node, Take]]] = {}
    ahead: dict[int, list[int]] = {}
    for node in scope.graph.nodes:
        taken = _taken(scope, node, free)
        if taken is not None and len(taken) == 1:
            tensor, ahead[node.index] = _source(scope, node, free)
            found.setdefault((tensor, taken[0].axis, taken[0].removed), []).append((node, taken[0]))
    for (tensor, axis, _), members in found.items():
        if len(members) > 1:
            choices = [(node.outputs[0], take) for node, take in members]
            outputs, detail = together(choices, scope.book.sizes[tensor][axis].known)
            draft = UnnamedOp("split" if isinstance(detail, Split) else "other", (tensor,), detail)
            makers = [scope.graph.producers[name] for name in outputs]
            indexes = tuple(sorted(index for node in makers for index in (node.index, *ahead[node.index])))
            operator = "+".join(dict.fromkeys(node.op for node in makers))
            yield Claim(draft, operator, outputs, indexes, indexes[0])


def _taken(scope: GraphScope, node: Node, free: set[int]) -> list[Take] | None:
    """What a node takes along each axis; none where it hands everything on, None for what is no choice."""
    if node.op not in ("Identity", *CHOICE_RULES) or node.domain or node.index not in free:
        return None
    if not node.inputs or not any(node.outputs) or scope.store.is_constant(node.inputs[0]):
        return None
    if not all(scope.is_structure(name) for name in node.inputs[1:] if name):
        return None
    try:
        if node.op == "Gather":
            return [_gathered(scope, node)]
        return _slices(scope, node) if node.op == "Slice" else []
    except (Unclear, ValueError, TypeError, LookupError, ArithmeticError):
        return None


def _source(scope: GraphScope, node: Node, free: set[int]) -> tuple[str, list[int]]:
    """The tensor that a node takes something of, and the nodes in between, which hand it on to this one alone."""
    between: list[int] = []
    while True:
        maker = scope.graph.producer(node.inputs[0])
        if maker is None or not scope.private(node.inputs[0], (node.index,)) or _taken(scope, maker, free) != []:
            return node.inputs[0], between
        node = maker
        between.append(node.index)
