"""Operations that mix positions and leave channels apart: pools, reductions, resize, pad."""

from __future__ import annotations

from collections.abc import Mapping

from normdiag.graph.importers.onnx.attributes import Unclear, counted_all, integer, integers, text
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.importers.onnx.reshape_rules import pads, resize_scales
from normdiag.graph.importers.onnx.scope import GraphScope, Rule, UnnamedOp
from normdiag.graph.importers.onnx.shape_rules import reduced_axes
from normdiag.graph.sizes import ONE, product
from normdiag.records import Reshape, Sizes, Window

# Versions of onnxruntime differ in it where they are told to count what is padded, and by nothing else.
UNKNOWN_COUNT = "adds up a number of positions that is not known"
OVER_THE_BORDER = "may count what its last window sees beyond the border"
UNKNOWN_RANK = "of a tensor of unknown rank"


def _rank(scope: GraphScope, node: Node) -> int:
    rank = scope.book.rank(node.inputs[0])
    if rank is None:
        raise Unclear(UNKNOWN_RANK)
    return rank


def _average_pool(scope: GraphScope, node: Node) -> UnnamedOp:
    kernel = integers(node, "kernel_shape")
    if not kernel:
        raise Unclear("without a kernel shape")
    mode = text(node, "auto_pad", "NOTSET")
    padded = mode.startswith("SAME") if mode != "NOTSET" else any(integers(node, "pads") or ())
    counts = integer(node, "count_include_pad", 0) != 0
    axes, reaches = _positions(len(kernel) + 2), integer(node, "ceil_mode", 0) and not _exact(scope, node, kernel)
    if counts and padded:
        return UnnamedOp("pool", (node.inputs[0],), Window(axes, shift=False))
    if counts and reaches:
        return UnnamedOp("pool", (node.inputs[0],), Window(axes, shift=False, why_not=OVER_THE_BORDER))
    return UnnamedOp("pool", (node.inputs[0],), Window(axes))


def _exact(scope: GraphScope, node: Node, kernel: tuple[int, ...]) -> bool:
    """Whether the windows end where the input ends."""
    sizes, count = scope.book.of(node.inputs[0]), len(kernel)
    steps, spread = integers(node, "strides") or (1,) * count, integers(node, "dilations") or (1,) * count
    around = integers(node, "pads") or (0,) * (2 * count)
    if sizes is None or len(sizes) != count + 2:
        return False
    for i, size in enumerate(sizes[2:]):
        left = (
            None if size.known is None else size.known + around[i] + around[i + count] - (kernel[i] - 1) * spread[i] - 1
        )
        if left is None or steps[i] < 1 or left % steps[i]:
            return False
    return True


def _max_pool(_: GraphScope, node: Node) -> UnnamedOp:
    kernel = integers(node, "kernel_shape")
    if not kernel:
        raise Unclear("without a kernel shape")
    if len(node.outputs) > 1 and node.outputs[1]:
        raise Unclear("a maximum whose place is used too")
    return UnnamedOp("pool", (node.inputs[0],), Window(_positions(len(kernel) + 2), "non_negative"))


def _global_pool(scope: GraphScope, node: Node) -> UnnamedOp:
    scale = "non_negative" if node.op == "GlobalMaxPool" else "any"
    return UnnamedOp("pool", (node.inputs[0],), Window(_positions(_rank(scope, node)), scale))  # type: ignore[arg-type]


def _positions(rank: int) -> tuple[int, ...]:
    return tuple(range(2, rank))


def _reduce(scope: GraphScope, node: Node) -> UnnamedOp:
    axes = reduced_axes(scope.book, node)
    if axes is None:
        raise Unclear("over axes that are not known")
    removed = integer(node, "keepdims", 1) == 0
    if node.op in ("ReduceMax", "ReduceMin"):
        window = Window(axes, "non_negative", removed=removed)
    elif node.op == "ReduceMean":
        window = Window(axes, removed=removed)
    else:
        sizes = scope.book.of(node.inputs[0]) or ()
        count = product(sizes[axis] for axis in axes).known
        window = Window(axes, shift=bool(count), removed=removed, total=float(count or 1), why_not=UNKNOWN_COUNT)
    return UnnamedOp("pool", (node.inputs[0],), window)


def _resize(scope: GraphScope, node: Node) -> UnnamedOp:
    rank = _rank(scope, node)
    mode, place = text(node, "mode", "nearest"), text(node, "coordinate_transformation_mode", "half_pixel")
    if mode not in ("nearest", "linear", "bilinear", "cubic") or place in (
        "tf_crop_and_resize",
        "tf_half_pixel_for_nn",
    ):
        raise Unclear(f"a resize of the kind {place if mode in ('nearest', 'linear', 'cubic') else mode!r}")
    axes = counted_all(integers(node, "axes") or tuple(range(rank)), rank)
    scales = resize_scales(scope.book, node)
    if scales is not None and len(scales) == len(axes):
        mixed = tuple(axis for axis, scale in zip(axes, scales, strict=True) if scale != 1.0)
    else:
        mixed = _changed(axes, scope.book.of(node.inputs[0]), scope.book.of(node.outputs[0]))
    if any(not scope.store.is_constant(name) and scope.is_float(name) for name in node.inputs[1:] if name):
        raise Unclear("a resize by computed scales")
    return UnnamedOp("resize", (node.inputs[0],), Window(mixed))


def _repeated(scope: GraphScope, node: Node) -> UnnamedOp:
    """Expand and Tile: the same values once more along some axes, the first of which may be new."""
    before, after = scope.book.of(node.inputs[0]), scope.book.of(node.outputs[0])
    if before is None or after is None or len(before) > len(after):
        raise Unclear("a repetition whose axes are not known")
    wide = (*(ONE,) * (len(after) - len(before)), *before)
    repeated = UnnamedOp("resize", (node.inputs[0],), Window(_changed(tuple(range(len(wide))), wide, after)))
    if wide == before:
        return repeated
    return UnnamedOp("reshape", (node.inputs[0],), Reshape(), sizes=wide).followed_by(repeated)


def _changed(axes: tuple[int, ...], before: Sizes | None, after: Sizes | None) -> tuple[int, ...]:
    """The axes along which a tensor does not provably keep its size."""
    if before is None or after is None or len(before) != len(after):
        return axes
    return tuple(axis for axis in axes if before[axis] != after[axis])


def _pad(scope: GraphScope, node: Node) -> UnnamedOp:
    added, mode = pads(scope.book, node), text(node, "mode", "constant")
    if added is None:
        raise Unclear("a padding that the graph computes")
    axes = tuple(axis for axis, each in enumerate(added) if any(each))
    grows = any(more > 0 for each in added for more in each)
    if mode != "constant" or not grows:
        if mode not in ("constant", "reflect", "edge", "wrap"):
            raise Unclear(f"a padding of the kind {mode!r}")
        return UnnamedOp("pad", (node.inputs[0],), Window(axes))
    if _pad_value(scope, node) != 0:
        raise Unclear("a padding with a number other than zero")
    zeros = added[axes[0]] if len(axes) == 1 and min(added[axes[0]]) >= 0 else None
    window = Window(axes, shift=False, why_not="puts zeros around its data", zeros=zeros)
    return UnnamedOp("pad", (node.inputs[0],), window)


def _pad_value(scope: GraphScope, node: Node) -> float | None:
    if scope.opset < 11:
        attribute = node.attribute("value")
        return 0.0 if attribute is None else float(attribute.f)
    return scope.store.constants.scalar(node.input(2)) if node.input(2) else 0.0


WINDOW_RULES: Mapping[str, Rule] = {
    "AveragePool": _average_pool,
    "MaxPool": _max_pool,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"), _reduce),
    "Resize": _resize,
    "Upsample": _resize,
    "Pad": _pad,
    **dict.fromkeys(("Expand", "Tile"), _repeated),
}
