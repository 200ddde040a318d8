"""The rank of every tensor and the axis of its features, as far as one pass over the graph can tell."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass

from normdiag.graph.importers.onnx.constants import Constants
from normdiag.graph.importers.onnx.functions import OPERATORS
from normdiag.graph.importers.onnx.nodes import Graph, Node
from normdiag.models.onnx.parse import dimensions


@dataclass(frozen=True)
class Layout:
    """`shape` with None for free dimensions, or None; `rank`; `axis` of the features (negative: from the end)."""

    rank: int | None = None
    axis: int | None = None
    shape: tuple[int | None, ...] | None = None


Layouts = MutableMapping[str, Layout]
UNKNOWN = Layout()


def find_layouts(graph: Graph, constants: Constants, outer: Layouts | None = None) -> Layouts:
    """The layout of the tensors of a graph: ranks from its declarations, feature axes from the operators."""
    layouts: Layouts = ChainMap({}, outer) if outer else {}
    layouts.update(_declared(graph))
    shapes: set[str] = set()
    for node in graph.nodes:
        if not node.outputs or not node.outputs[0]:
            continue
        if node.op == "Shape" or (node.op in _LENGTHS and not shapes.isdisjoint(node.inputs)):
            shapes.add(node.outputs[0])
            length = _LENGTHS[node.op](node, layouts, constants)
            layouts[node.outputs[0]] = UNKNOWN if length is None else Layout(1, None, (length,))
        else:
            rule, known = _RULES.get(node.op), layouts.get(node.outputs[0], UNKNOWN)
            found = rule(node, layouts, constants) if rule is not None else UNKNOWN
            rank = known.rank if known.rank is not None else found.rank
            layouts[node.outputs[0]] = Layout(rank, found.axis, known.shape)
    return layouts


def unit_axis(layout: Layout) -> int:
    """The axis of the units of an activation; without evidence the last for rank 3 (tokens), else axis 1."""
    if layout.axis is not None:
        return layout.axis
    return -1 if layout.rank == 3 else min(1, (layout.rank or 2) - 1)


def _declared(graph: Graph) -> Mapping[str, Layout]:
    declared: dict[str, Layout] = {}
    for value in (*graph.proto.value_info, *graph.proto.input, *graph.proto.output):
        shape = dimensions(value)
        if shape is not None:
            declared[value.name] = Layout(len(shape), None, shape)
    for tensor in graph.proto.initializer:
        declared[tensor.name] = Layout(len(tensor.dims), None, tuple(tensor.dims))
    return declared


def _rank(node: Node, layouts: Layouts, position: int = 0) -> int | None:
    return layouts.get(node.input(position), UNKNOWN).rank


def _channels(node: Node, layouts: Layouts, _: Constants) -> Layout:
    rank = _rank(node, layouts)
    weight = _rank(node, layouts, 1) if node.op in ("Conv", "ConvTranspose") else None
    return Layout(rank if rank is not None else weight, 1)


def _linear(node: Node, layouts: Layouts, _: Constants) -> Layout:
    ranks = _rank(node, layouts), _rank(node, layouts, 1)
    if node.op in ("Gemm", "FusedGemm"):
        return Layout(2, -1)
    return Layout(None if None in ranks else max(r for r in ranks if r is not None), -1)


def _same(node: Node, layouts: Layouts, _: Constants) -> Layout:
    return layouts.get(node.input(0), UNKNOWN)


def _normalized(node: Node, layouts: Layouts, _: Constants) -> Layout:
    return Layout(_rank(node, layouts), -1)


def _elementwise(node: Node, layouts: Layouts, constants: Constants) -> Layout:
    """Of the widest operand that is not constant; the first of them that knows its feature axis."""
    operands = [layouts.get(i, UNKNOWN) for i in node.inputs if i and not constants.is_constant(i)]
    ranks = [o.rank for o in operands]
    rank = max((r for r in ranks if r is not None), default=None) if None not in ranks else None
    widest = [o for o in operands if o.rank == rank or rank is None]
    axis = next((o.axis for o in widest if o.axis is not None), None)
    return Layout(rank, axis)


def _reshaped(node: Node, layouts: Layouts, constants: Constants) -> Layout:
    """A reshape to (N, K), or one that takes tokens apart, leaves features last; any other is not followed."""
    rank = 2 if node.op == "Flatten" else vector_length(node.input(1), layouts, constants)
    source = layouts.get(node.input(0), UNKNOWN)
    last = source.axis is not None and source.axis in (-1, (source.rank or 0) - 1)
    return Layout(rank, 1 if rank == 2 else -1 if last else None)


def vector_length(name: str, layouts: Layouts, constants: Constants) -> int | None:
    """The number of elements of a shape tensor, constant or put together from parts of other shapes."""
    shape = layouts.get(name, UNKNOWN).shape
    if shape is not None and len(shape) == 1:
        return shape[0]
    known = constants.integers(name)
    return None if known is None else len(known)


def _cut_length(node: Node, _: Layouts, constants: Constants) -> int | None:
    start, end = constants.integers(node.input(1)), constants.integers(node.input(2))
    return end[0] - start[0] if start and end and 0 <= start[0] <= end[0] < 100 else None


def _joined_length(node: Node, layouts: Layouts, constants: Constants) -> int | None:
    lengths = [vector_length(part, layouts, constants) for part in node.inputs]
    return None if None in lengths else sum(length for length in lengths if length is not None)


_LENGTHS: Mapping[str, Callable[[Node, Layouts, Constants], int | None]] = {
    "Cast": lambda node, layouts, constants: vector_length(node.input(0), layouts, constants),
    "Shape": lambda node, layouts, _: layouts.get(node.input(0), UNKNOWN).rank,
    "Slice": _cut_length,
    "Gather": lambda node, layouts, constants: vector_length(node.input(1), layouts, constants),
    "Unsqueeze": lambda node, layouts, constants: 1,
    "Concat": _joined_length,
}


def _transposed(node: Node, layouts: Layouts, _: Constants) -> Layout:
    source, perm = layouts.get(node.input(0), UNKNOWN), node.integers("perm")
    if not perm or source.axis is None:
        return Layout(len(perm) if perm else source.rank)
    axis = source.axis % len(perm)
    return Layout(len(perm), perm.index(axis) if axis in perm else None)


def _reduced(node: Node, layouts: Layouts, constants: Constants) -> Layout:
    source = layouts.get(node.input(0), UNKNOWN)
    if node.integer("keepdims", 1):
        return source
    axes = node.integers("axes") or constants.integers(node.input(1))
    if source.rank is None or not axes:
        return UNKNOWN
    rank = source.rank
    gone = {a % rank for a in axes} if rank else set()
    if source.axis is None or source.axis % rank in gone:
        return Layout(rank - len(gone))
    return Layout(rank - len(gone), source.axis % rank - sum(a < source.axis % rank for a in gone))


def _squeezed(node: Node, layouts: Layouts, constants: Constants) -> Layout:
    axes = node.integers("axes") or constants.integers(node.input(1))
    rank = _rank(node, layouts)
    if rank is None or axes is None:
        return UNKNOWN
    return Layout(max(rank + (len(axes) if node.op == "Unsqueeze" else -len(axes)), 0))


_Rule = Callable[[Node, Layouts, Constants], Layout]
_GROUPS: tuple[tuple[_Rule, str], ...] = (
    (
        _channels,
        "Conv ConvTranspose FusedConv BatchNormalization InstanceNormalization GroupNormalization PRelu MaxPool "
        "AveragePool GlobalAveragePool GlobalMaxPool LpPool Resize Upsample DepthToSpace SpaceToDepth",
    ),
    (_linear, "MatMul Gemm FusedMatMul FusedGemm MatMulInteger"),
    (
        _normalized,
        "LayerNormalization RMSNormalization SimplifiedLayerNormalization SkipLayerNormalization "
        "SkipSimplifiedLayerNormalization Attention MultiHeadAttention",
    ),
    (
        _same,
        "Identity Cast CastLike Dropout Celu Softsign Erf Exp Log Sqrt Abs Neg Reciprocal Pad Softmax LogSoftmax Slice "
        "Round Floor Ceil ThresholdedRelu Concat",
    ),
    (_elementwise, "Add Sub Mul Div Pow Max Min Sum Mean Where"),
    (_reshaped, "Reshape Flatten"),
    (_transposed, "Transpose"),
    (_reduced, "ReduceMean ReduceSum ReduceMax ReduceMin ReduceL2 ReduceSumSquare"),
    (_squeezed, "Squeeze Unsqueeze"),
)
_RULES: Mapping[str, _Rule] = {
    **{name: _same for _, name in OPERATORS},
    **{op: rule for rule, ops in _GROUPS for op in ops.split()},
}
