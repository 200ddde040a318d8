"""Operations that hand on, rearrange, join, cut or add."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from normdiag.graph.dtypes import keeps
from normdiag.graph.importers.onnx.attributes import Unclear, axis_of, counted, integer, number
from normdiag.graph.importers.onnx.inference import dtype_name
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.importers.onnx.opaque import bad_constant, opaque
from normdiag.graph.importers.onnx.reshape_rules import permutation
from normdiag.graph.importers.onnx.scope import GraphScope, Rule, UnnamedOp
from normdiag.graph.importers.onnx.shape_rules import split_parts
from normdiag.records import Add, Concat, Pass, Reshape, ScaleShift, Select, Split, Transpose

ENDLESS = (-math.inf, math.inf)
LARGEST = {"float16": 65504.0, "bfloat16": 2.0**128 - 2.0**120, "float32": 2.0**128 - 2.0**104, "float64": 2.0**1023}


def _identity(_: GraphScope, node: Node) -> UnnamedOp:
    return UnnamedOp("identity", (node.inputs[0],), Pass())


def _dropout(scope: GraphScope, node: Node) -> UnnamedOp:
    """Training mode is an input from operator set 12 on; before 7 an attribute said that it is a test."""
    if scope.opset < 7 and integer(node, "is_test", 0) == 0:
        raise Unclear("a dropout in training mode")
    if scope.opset < 12:
        return UnnamedOp("dropout", (node.inputs[0],), Pass(keep=_kept(number(node, "ratio", 0.5))))
    if node.input(2):
        _require_off(scope, node.input(2))
    ratio = scope.store.constants.scalar(node.input(1)) if node.input(1) else 0.5
    return UnnamedOp("dropout", (node.inputs[0],), Pass(keep=None if ratio is None else _kept(ratio)))


def _kept(ratio: float) -> float:
    """0.9 where the float32 of 0.1 was dropped."""
    return round(1.0 - ratio, 6)


def _require_off(scope: GraphScope, mode: str) -> None:
    """A mode that is off in the file may still be one that the caller may set: then it is not known."""
    value = scope.store.constants.array(mode, 1)
    if value is None or value.size != 1 or value.reshape(-1)[0]:
        raise Unclear("a dropout in training mode")
    if scope.store.stored.get(mode, frozenset()) & scope.store.overridable:
        raise Unclear("a dropout that the caller may put into training mode")


def _cast(scope: GraphScope, node: Node) -> UnnamedOp:
    before = scope.book.dtypes.get(node.inputs[0])
    like = node.op == "CastLike"
    after = scope.book.dtypes.get(node.input(1)) if like else dtype_name(integer(node, "to", 0))
    if before is None or after is None:
        raise Unclear("a cast between types that are not known")
    if not keeps(before, after):
        raise Unclear(f"a cast to {after}, which rounds")
    return UnnamedOp("identity", (node.inputs[0],), Pass())


def _reshape(_: GraphScope, node: Node) -> UnnamedOp:
    return UnnamedOp("reshape", (node.inputs[0],), Reshape())


def _transpose(scope: GraphScope, node: Node) -> UnnamedOp:
    rank = scope.book.rank(node.inputs[0])
    if rank is None:
        raise Unclear("a transpose of a tensor of unknown rank")
    return UnnamedOp("transpose", (node.inputs[0],), Transpose(permutation(node, rank)))


def _concat(scope: GraphScope, node: Node) -> UnnamedOp:
    if node.attribute("axis") is None or not all(node.inputs):
        raise Unclear("a concatenation without an axis")
    return UnnamedOp("concat", node.inputs, Concat(axis_of(node, 0, scope.book.rank(node.outputs[0]))))


def _split(scope: GraphScope, node: Node) -> UnnamedOp:
    sizes = scope.book.of(node.inputs[0])
    if sizes is None:
        raise Unclear("a split of a tensor of unknown rank")
    axis = counted(integer(node, "axis", 0), len(sizes))
    parts = split_parts(scope.book, node, sizes[axis].known)
    if parts is None:
        raise Unclear("a split into parts of unknown size")
    return UnnamedOp("split", (node.inputs[0],), Split(axis, parts))


def _clip(scope: GraphScope, node: Node) -> UnnamedOp:
    """Without bounds, or with those of its type, it changes nothing that is finite."""
    if scope.opset < 11:
        bounds: list[float | None] = [
            number(node, name, value) for name, value in (("min", -math.inf), ("max", math.inf))
        ]
    else:
        given = [node.input(place) for place in (1, 2)]
        values = [scope.store.constants.scalar(name) if name and scope.is_structure(name) else None for name in given]
        bounds = [value if name else infinite for name, value, infinite in zip(given, values, ENDLESS, strict=True)]
    largest = LARGEST.get(scope.book.dtypes.get(node.inputs[0], ""))
    low, high = bounds
    if low is None or high is None or largest is None or low > -largest or high < largest:
        return opaque(scope, node)
    return UnnamedOp("identity", (node.inputs[0],), Pass())


def _where(scope: GraphScope, node: Node) -> UnnamedOp:
    """The condition comes last: whether it is true decides between the other two."""
    if len(node.inputs) != 3 or not all(node.inputs) or not scope.is_float(node.outputs[0]):
        return opaque(scope, node)
    condition, *choices = node.inputs
    fixed = (condition,) if not scope.store.is_constant(condition) else ()
    constants = tuple(place for place, name in enumerate(choices) if scope.store.is_constant(name))
    return UnnamedOp("other", (*choices, *fixed), Select(constants))


def _add(scope: GraphScope, node: Node) -> UnnamedOp:
    """Two tensors, or a tensor and a constant that is no map of each channel (see chains.py for those)."""
    if len(node.inputs) != 2 or not all(node.inputs):
        raise Unclear("without two inputs")
    signs = (1, 1 if node.op == "Add" else -1)
    if node.inputs[0] == node.inputs[1]:
        return _multiple(scope, node, signs)
    if any(set(scope.book.shape(name) or ()) <= {1} for name in node.inputs if scope.store.is_constant(name)):
        raise Unclear(bad_constant(scope, node) or "a sum with a number")
    return UnnamedOp("add", node.inputs, Add(signs))


def _multiple(scope: GraphScope, node: Node, signs: tuple[int, ...]) -> UnnamedOp:
    """A tensor added to itself is twice that."""
    rank = scope.book.rank(node.inputs[0])
    if rank is None or not scope.is_float(node.inputs[0]) or scope.store.is_constant(node.inputs[0]) or not sum(signs):
        return UnnamedOp("add", node.inputs, Add(signs))
    times, nothing = (np.full((1,) * rank, float(each)) for each in (sum(signs), 0))
    return UnnamedOp("scale_shift", node.inputs[:1], ScaleShift(times, nothing))


def _sum(scope: GraphScope, node: Node) -> UnnamedOp:
    if not all(node.inputs):
        raise Unclear("with a missing input")
    if len(node.inputs) > 1 and len(set(node.inputs)) == 1:
        return _multiple(scope, node, (1,) * len(node.inputs))
    return UnnamedOp("add", node.inputs, Add((1,) * len(node.inputs)))


SIMPLE_RULES: Mapping[str, Rule] = {
    "Identity": _identity,
    "Dropout": _dropout,
    "Cast": _cast,
    "CastLike": _cast,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Add": _add,
    "Sub": _add,
    "Sum": _sum,
    "Clip": _clip,
    "Where": _where,
}
