"""Along which axis of a tensor its features lie: what the units of an activation are."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping

from normdiag.graph.importers.onnx.book import Book
from normdiag.graph.importers.onnx.functions import OPERATORS
from normdiag.graph.importers.onnx.nodes import Graph, Node

# By tensor; negative: from the end. Only those that are known.
Axes = MutableMapping[str, int]


def feature_axes(graph: Graph, book: Book, outer: Axes | None = None) -> Axes:
    """As far as the operators tell: axis 1 after convolutions and pools, the last after products with matrices."""
    axes: Axes = ChainMap({}, outer) if outer else {}
    for node in graph.nodes:
        rule = _RULES.get(node.op)
        axis = rule(node, axes, book) if rule is not None and node.outputs and node.outputs[0] else None
        if axis is not None:
            axes[node.outputs[0]] = axis
    return axes


def unit_axis(axis: int | None, rank: int | None) -> int:
    """The axis of the units of an activation; without evidence the last for rank 3 (tokens), else axis 1."""
    if axis is not None:
        return axis
    return -1 if rank == 3 else min(1, (rank or 2) - 1)


_Rule = Callable[[Node, Axes, Book], "int | None"]


def _always(axis: int) -> _Rule:
    return lambda *_: axis


def _same(node: Node, axes: Axes, _: Book) -> int | None:
    return axes.get(node.input(0))


def _elementwise(node: Node, axes: Axes, book: Book) -> int | None:
    """Of the widest operands that are not constant, the first that knows it."""
    operands = [name for name in node.inputs if name and not book.constants.is_constant(name)]
    ranks = [book.listed_rank(name) for name in operands]
    widest = None if None in ranks else max((rank for rank in ranks if rank is not None), default=None)
    found = (axes.get(name) for name, rank in zip(operands, ranks, strict=True) if widest in (None, rank))
    return next((axis for axis in found if axis is not None), None)


def _reshaped(node: Node, axes: Axes, book: Book) -> int | None:
    """A reshape to (N, K), or one that takes tokens apart, leaves features last; any other is not followed."""
    if node.op == "Flatten" or book.listed_rank(node.outputs[0]) == 2:
        return 1
    axis = axes.get(node.input(0))
    last = axis is not None and axis in (-1, (book.listed_rank(node.input(0)) or 0) - 1)
    return -1 if last else None


def _transposed(node: Node, axes: Axes, _: Book) -> int | None:
    axis, perm = axes.get(node.input(0)), node.integers("perm")
    if not perm or axis is None:
        return None
    return perm.index(axis % len(perm)) if axis % len(perm) in perm else None


def _reduced(node: Node, axes: Axes, book: Book) -> int | None:
    axis, rank = axes.get(node.input(0)), book.listed_rank(node.input(0))
    if node.integer("keepdims", 1):
        return axis
    over = node.integers("axes") or book.constants.integers(node.input(1))
    gone = {each % rank for each in over} if rank and over else set()
    if axis is None or not rank or not over or axis % rank in gone:
        return None
    return axis % rank - sum(each < axis % rank for each in gone)


_GROUPS: tuple[tuple[_Rule, str], ...] = (
    (
        _always(1),
        "Conv ConvTranspose FusedConv BatchNormalization InstanceNormalization GroupNormalization PRelu MaxPool "
        "AveragePool GlobalAveragePool GlobalMaxPool LpPool Resize Upsample DepthToSpace SpaceToDepth",
    ),
    (
        _always(-1),
        "MatMul Gemm FusedMatMul FusedGemm MatMulInteger LayerNormalization RMSNormalization "
        "SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization Attention "
        "MultiHeadAttention",
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
)
_RULES: Mapping[str, _Rule] = {
    **{name: _same for _, name in OPERATORS},
    **{op: rule for rule, ops in _GROUPS for op in ops.split()},
}
