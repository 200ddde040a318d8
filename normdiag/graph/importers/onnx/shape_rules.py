"""Dimensions of the outputs of an operator from those of its inputs, exact with free dimensions in them.

A rule returns the dimensions of each output: None for an output, or for a dimension, that it cannot tell.
"""

from __future__ import annotations

from collections.abc import Mapping

from normdiag.graph.importers.onnx.attributes import counted, counted_all, integer, integers, text
from normdiag.graph.importers.onnx.book import Book, SizeRule, numbers_of
from normdiag.graph.importers.onnx.functions import OPERATORS
from normdiag.graph.importers.onnx.inference import Dims
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.importers.onnx.reshape_rules import RESHAPE_RULES, broadcast
from normdiag.records import Size, Sizes

Found = tuple[Dims | None, ...]
ONE = Size(1)
POOLS = frozenset({"MaxPool", "AveragePool", "LpPool"})


def _same(book: Book, node: Node) -> Found:
    return (book.of(node.inputs[0]),)


def _broadcast(book: Book, node: Node) -> Found:
    operands = [book.of(name) for name in node.inputs if name]
    known = [sizes for sizes in operands if sizes is not None]
    return (broadcast(known),) if len(known) == len(operands) else ()


def _conv(book: Book, node: Node) -> Found:
    x, weight = book.of(node.inputs[0]), book.shape(node.input(1))
    if weight is None:
        return ()
    spatial = _positions(x, len(weight), node, weight[2:])
    return (((x[0] if x else None), Size(weight[0]), *spatial),)


def _pool(book: Book, node: Node) -> Found:
    x, kernel = book.of(node.inputs[0]), integers(node, "kernel_shape")
    if x is None or not kernel:
        return ()
    ceil = integer(node, "ceil_mode", 0) != 0
    return ((*x[:2], *_positions(x, len(kernel) + 2, node, kernel, ceil)),) * 2


def may_overrun(_: Book, node: Node) -> bool:
    """Whether a pool's last window may begin after the data, where ceil_mode rounds up.

    Inference counts such a window. onnxruntime drops it, and older versions of it do not.
    """
    kernel = integers(node, "kernel_shape")
    if node.op not in POOLS or not kernel or integer(node, "ceil_mode", 0) == 0:
        return False
    count = len(kernel)
    steps, spread = integers(node, "strides") or (1,) * count, integers(node, "dilations") or (1,) * count
    pads = integers(node, "pads") if text(node, "auto_pad", "NOTSET") == "NOTSET" else None
    ends = (pads or (0,) * (2 * count))[count:]
    return any(end + step > (k - 1) * d + 1 for end, step, k, d in zip(ends, steps, kernel, spread, strict=True))


def _positions(x: Sizes | None, rank: int, node: Node, kernel: tuple[int, ...], ceil: bool = False) -> Dims:
    """After a sliding window; kept as they are where stride and padding keep them."""
    if x is None or len(x) != rank:
        return (None,) * (rank - 2)
    steps = integers(node, "strides") or (1,) * len(kernel)
    spread = integers(node, "dilations") or (1,) * len(kernel)
    mode = text(node, "auto_pad", "NOTSET")
    pads = integers(node, "pads") if mode == "NOTSET" else None
    pads = pads or (0,) * (2 * len(kernel))
    if mode.startswith("SAME"):
        return tuple(size if step == 1 else None for size, step in zip(x[2:], steps, strict=True))
    return tuple(
        _window(size, (k - 1) * d, s, (pads[i], pads[i + len(kernel)]), ceil)
        for i, (size, k, d, s) in enumerate(zip(x[2:], kernel, spread, steps, strict=True))
    )


def _window(size: Size, reach: int, step: int, padding: tuple[int, int], ceil: bool) -> Size | None:
    """None also where a last window would begin after the data (see may_overrun)."""
    if step == 1 and sum(padding) == reach:
        return size
    if size.known is None or step < 1:
        return None
    room = size.known + sum(padding) - reach - 1
    count = max((-(-room // step) if ceil else room // step) + 1, 0)
    return None if ceil and (count - 1) * step >= size.known + padding[0] else Size(count)


def _conv_transpose(book: Book, node: Node) -> Found:
    x, weight = book.of(node.inputs[0]), book.shape(node.input(1))
    if weight is None or x is None or len(x) != len(weight):
        return ()
    channels = Size(weight[1] * integer(node, "group", 1))
    fixed = node.attribute("output_shape") is None and text(node, "auto_pad", "NOTSET") == "NOTSET"
    spatial = _spread_positions(x, node, weight[2:]) if fixed else (None,) * (len(weight) - 2)
    return ((x[0], channels, *spatial),)


def _spread_positions(x: Sizes, node: Node, kernel: tuple[int, ...]) -> Dims:
    count = len(kernel)
    steps, spread = integers(node, "strides") or (1,) * count, integers(node, "dilations") or (1,) * count
    pads, more = integers(node, "pads") or (0,) * (2 * count), integers(node, "output_padding") or (0,) * count
    found: list[Size | None] = []
    for i, size in enumerate(x[2:]):
        rest = (kernel[i] - 1) * spread[i] + 1 - steps[i] + more[i] - pads[i] - pads[i + count]
        if size.known is not None:
            found.append(Size(steps[i] * size.known + rest))
        else:
            found.append(Size(steps[i] * size.factor, size.symbols) if rest == 0 else None)
    return tuple(found)


def _global_pool(book: Book, node: Node) -> Found:
    x = book.of(node.inputs[0])
    return () if x is None else ((*x[:2], *(ONE,) * (len(x) - 2)),)


def _gemm(book: Book, node: Node) -> Found:
    a, b = book.of(node.inputs[0]), book.of(node.input(1))
    rows = None if a is None else a[1 if integer(node, "transA", 0) else 0]
    columns = None if b is None else b[0 if integer(node, "transB", 0) else 1]
    return ((rows, columns),)


def _matmul(book: Book, node: Node) -> Found:
    a, b = book.of(node.inputs[0]), book.of(node.input(1))
    if not a or not b:
        return ()
    rows, columns = a[-2:-1], b[-1:] if len(b) > 1 else ()
    return ((*broadcast([a[:-2], b[:-2]]), *rows, *columns),)


def _reduce(book: Book, node: Node) -> Found:
    x = book.of(node.inputs[0])
    axes = reduced_axes(book, node)
    if x is None or axes is None:
        return ()
    if integer(node, "keepdims", 1):
        return (tuple(ONE if i in axes else size for i, size in enumerate(x)),)
    return (tuple(size for i, size in enumerate(x) if i not in axes),)


def reduced_axes(book: Book, node: Node) -> tuple[int, ...] | None:
    """The axes of a reduction, counted from 0; None where they are not known."""
    rank = book.rank(node.inputs[0])
    axes = integers(node, "axes") if node.attribute("axes") is not None else None
    if axes is None and node.input(1):
        axes = numbers_of(book.value(node.input(1)))
        if axes is None:
            return None
    if rank is None:
        return None
    if not axes:
        return () if integer(node, "noop_with_empty_axes", 0) else tuple(range(rank))
    return counted_all(axes, rank)


def _concat(book: Book, node: Node) -> Found:
    parts = [book.of(name) for name in node.inputs]
    known = [part for part in parts if part is not None]
    if not known:
        return ()
    axis = counted(integer(node, "axis", 0), len(known[0]))
    joined = [part[axis].known for part in known] if len(known) == len(parts) else [None]
    total = None if None in joined else Size(sum(each for each in joined if each is not None))
    return ((*known[0][:axis], total, *known[0][axis + 1 :]),)


def _split(book: Book, node: Node) -> Found:
    x = book.of(node.inputs[0])
    if x is None:
        return ()
    axis = counted(integer(node, "axis", 0), len(x))
    parts = split_parts(book, node, x[axis].known)
    count = len(node.outputs)
    cut = (None,) * count if parts is None else tuple(Size(part) for part in parts)
    return tuple((*x[:axis], size, *x[axis + 1 :]) for size in cut)


def split_parts(book: Book, node: Node, total: int | None) -> tuple[int, ...] | None:
    """How many elements each output of a Split gets."""
    given = integers(node, "split") or numbers_of(book.value(node.input(1)))
    count = integer(node, "num_outputs", len(node.outputs))
    if given is None and total is not None and not node.input(1) and 0 < count == len(node.outputs) <= total:
        each = -(-total // count)
        given = (*(each,) * (count - 1), total - each * (count - 1))
    fits = given is not None and len(given) == len(node.outputs) and min(given) >= 0
    return given if fits and given is not None and total in (None, sum(given)) else None


_GROUPS = (
    (
        _same,
        "Identity Cast CastLike Dropout Celu Softsign Erf Exp Log Sqrt Abs Neg Reciprocal Softmax LogSoftmax Round "
        "Floor Ceil Sign ThresholdedRelu BatchNormalization InstanceNormalization GroupNormalization "
        "LayerNormalization RMSNormalization SimplifiedLayerNormalization LRN MeanVarianceNormalization "
        "LpNormalization Not CumSum Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh IsNaN IsInf",
    ),
    (_broadcast, "Add Sub Mul Div Pow Max Min Sum Mean Where PRelu Equal Greater Less And Or Mod"),
    (_conv, "Conv"),
    (_conv_transpose, "ConvTranspose"),
    (_pool, "MaxPool AveragePool LpPool"),
    (_global_pool, "GlobalMaxPool GlobalAveragePool GlobalLpPool"),
    (_gemm, "Gemm"),
    (_matmul, "MatMul"),
    (_reduce, "ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceProd ReduceSumSquare ReduceLogSumExp"),
    (_concat, "Concat"),
    (_split, "Split"),
)


def _attention(book: Book, node: Node) -> Found:
    """As many samples and tokens as the query has."""
    x = book.of(node.inputs[0])
    return () if x is None else ((*x[:-1], None),)


# Operators of com.microsoft.
CONTRIB_RULES: Mapping[str, SizeRule] = {
    **dict.fromkeys(("LayerNormalization", "SimplifiedLayerNormalization", "GroupNorm"), _same),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), _same),
    **dict.fromkeys(("Gelu", "BiasGelu", "FastGelu", "QuickGelu"), _same),
    **dict.fromkeys(("Attention", "MultiHeadAttention"), _attention),
    "FusedConv": _conv,
    "FusedGemm": _gemm,
}
SIZE_RULES: Mapping[str, SizeRule] = {
    **{name: _same for domain, name in OPERATORS if not domain},
    **{op: rule for rule, ops in _GROUPS for op in ops.split()},
    **RESHAPE_RULES,
}
