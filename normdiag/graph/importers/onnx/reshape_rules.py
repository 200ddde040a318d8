"""Dimensions after operators that rearrange elements: reshape, transpose, slice, pad, resize, gather."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from normdiag.graph.importers.onnx.attributes import Unclear, counted, counted_all, integer, integers, text
from normdiag.graph.importers.onnx.book import Book, SizeRule, numbers_of
from normdiag.graph.importers.onnx.inference import Dims
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.sizes import product, quotient
from normdiag.records import Size, Sizes

Found = tuple[Dims | None, ...]
ONE = Size(1)
# ONNX's largest integer stands for 'to the end'.
END = 2**31 - 1


def broadcast(shapes: list[Sizes]) -> Dims:
    """The dimensions of an elementwise result, aligned at the end."""
    rank = max(map(len, shapes), default=0)
    padded = [(ONE,) * (rank - len(sizes)) + tuple(sizes) for sizes in shapes]
    return tuple(_joined(column) for column in zip(*padded, strict=True))


def _joined(column: tuple[Size, ...]) -> Size | None:
    """Of dimensions that are equal or 1. A number above 1 decides; two different free ones do not."""
    different = {size for size in column if size != ONE}
    if not different:
        return ONE
    numbers = {size for size in different if size.known is not None}
    if len(numbers) == 1:
        return numbers.pop()
    return different.pop() if len(different) == 1 else None


def _reshape(book: Book, node: Node) -> Found:
    x = book.of(node.inputs[0])
    target = book.vector(node.input(1))
    if target is None:
        length = book.shape(node.input(1))
        return ((None,) * length[0],) if length is not None and len(length) == 1 and length[0] < 64 else ()
    if x is None:
        return (
            tuple(size if size is not None and (size.known is None or size.known > 0) else None for size in target),
        )
    return (reshaped(x, target, bool(integer(node, "allowzero", 0))),)


def reshaped(x: Sizes, target: tuple[Size | None, ...], keep_zero: bool = False) -> Dims:
    """The dimensions after a Reshape. 0 takes the size of the input there; -1, and one unknown, is what is left."""
    copied = [x[i] if size == Size(0) and not keep_zero and i < len(x) else size for i, size in enumerate(target)]
    known = [size for size in copied if size is not None and size != Size(-1)]
    if len(copied) - len(known) != 1:
        return tuple(None if size == Size(-1) else size for size in copied)
    rest = quotient(product(x), product(known))
    return tuple(rest if size is None or size == Size(-1) else size for size in copied)


def _flatten(book: Book, node: Node) -> Found:
    x, axis = book.of(node.inputs[0]), integer(node, "axis", 1)
    if x is None:
        return ((None, None),)
    axis = axis if axis == len(x) else counted(axis, len(x))
    return ((product(x[:axis]), product(x[axis:])),)


def given_axes(book: Book, node: Node) -> tuple[int, ...] | None:
    """Axes as an attribute, or as an input in newer operator sets."""
    found = integers(node, "axes")
    return found if found is not None else numbers_of(book.value(node.input(1)))


def _squeeze(book: Book, node: Node) -> Found:
    x, axes = book.of(node.inputs[0]), given_axes(book, node)
    if x is None or (axes is None and (node.input(1) or any(size.known is None for size in x))):
        return ()
    gone = counted_all(axes, len(x)) if axes else tuple(i for i, size in enumerate(x) if size == ONE)
    return (tuple(size for i, size in enumerate(x) if i not in gone),)


def _unsqueeze(book: Book, node: Node) -> Found:
    x, axes = book.of(node.inputs[0]), given_axes(book, node)
    if x is None or axes is None:
        return ()
    rank = len(x) + len(axes)
    new, old = counted_all(axes, rank), iter(x)
    return (tuple(ONE if i in new else next(old) for i in range(rank)),)


def _transpose(book: Book, node: Node) -> Found:
    x = book.of(node.inputs[0])
    return () if x is None else (tuple(x[i] for i in permutation(node, len(x))),)


def permutation(node: Node, rank: int) -> tuple[int, ...]:
    """The order of the axes; the reverse where none is given."""
    perm = integers(node, "perm")
    if perm is None:
        return tuple(reversed(range(rank)))
    if sorted(perm) != list(range(rank)):
        raise Unclear("whose order of axes does not fit its input")
    return perm


@dataclass(frozen=True)
class Cut:
    """A slice along one axis; the bounds are None where the graph computes them."""

    axis: int
    start: int | None
    end: int | None
    step: int | None

    def size(self, length: Size) -> Size | None:
        """How many elements it leaves."""
        if self.start == 0 and self.step == 1 and self.end is not None and self.end >= END:
            return length
        found = self.elements(length)
        return None if found is None else Size(len(found))

    def elements(self, length: Size) -> range | None:
        """Which elements it leaves, counted from 0."""
        if length.known is None or self.start is None or self.end is None or not self.step:
            return None
        if self.step < 0 and self.start < -length.known:
            return None  # where runtimes start at the first element and Python before it
        found = range(*slice(self.start, _open(self.end), self.step).indices(length.known))
        return found if found else range(0)


def _open(end: int) -> int | None:
    """The smallest integers mean 'down to the first' of a slice that runs backwards."""
    return None if end <= -END else end


def cuts(book: Book, node: Node) -> tuple[Cut, ...]:
    """The slices of a Slice, along axes counted from 0. Raises Unclear where the axes are not known."""
    rank = book.rank(node.inputs[0])
    if rank is None:
        raise Unclear("a slice of a tensor of unknown rank")
    old = node.attribute("starts") is not None
    if not old and not (node.input(1) and node.input(2)):
        raise Unclear("a slice without bounds")
    starts = integers(node, "starts") if old else _optional(book, node.input(1))
    ends = integers(node, "ends") if old else _optional(book, node.input(2))
    axes = integers(node, "axes") if old else numbers_of(book.value(node.input(3)))
    if axes is None and not old and node.input(3):
        raise Unclear("a slice along axes that the graph computes")
    count = next((len(each) for each in (starts, ends, axes) if each is not None), rank)
    axes = tuple(range(count)) if axes is None else tuple(counted(axis, rank) for axis in axes)
    steps = numbers_of(book.value(node.input(4))) if node.input(4) else (1,) * count
    columns = [each if each is not None else (None,) * count for each in (starts, ends, steps)]
    return tuple(Cut(*each) for each in zip(axes, *columns, strict=True))


def _optional(book: Book, name: str) -> tuple[int | None, ...] | None:
    """A computed vector, None in it where a number is not known."""
    found = book.vector(name)
    return None if found is None else tuple(None if size is None else size.known for size in found)


def _slice(book: Book, node: Node) -> Found:
    x = book.of(node.inputs[0])
    if x is None:
        return ()
    sizes: list[Size | None] = list(x)
    for cut in cuts(book, node):
        sizes[cut.axis] = cut.size(x[cut.axis])
    return (tuple(sizes),)


def pads(book: Book, node: Node) -> tuple[tuple[int, int], ...] | None:
    """What a Pad adds before and after each axis; None where the graph computes it."""
    rank = book.rank(node.inputs[0])
    given = integers(node, "pads") or integers(node, "paddings") or numbers_of(book.value(node.input(1)))
    if rank is None or given is None:
        return None
    axes: tuple[int, ...] | None = tuple(range(rank))
    if node.input(3):
        axes = numbers_of(book.value(node.input(3)))
    if axes is None or len(given) != 2 * len(axes):
        return None
    added = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        added[counted(axis, rank)] = given[i], given[i + len(axes)]
    return tuple(added)


def _pad(book: Book, node: Node) -> Found:
    x, added = book.of(node.inputs[0]), pads(book, node)
    if x is None or added is None:
        return () if x is None else ((None,) * len(x),)
    both = [sum(each) for each in added]
    return (
        tuple(
            size if more == 0 else None if size.known is None else Size(size.known + more)
            for size, more in zip(x, both, strict=True)
        ),
    )


def _resize(book: Book, node: Node) -> Found:
    """Where the new sizes are given, or the scales are whole numbers."""
    x = book.of(node.inputs[0])
    if x is None:
        return ()
    axes = counted_all(integers(node, "axes") or tuple(range(len(x))), len(x))
    if node.input(3) and text(node, "keep_aspect_ratio_policy", "stretch") == "stretch":
        wanted = book.vector(node.input(3)) or (None,) * len(axes)
        new: Dims = tuple(wanted)
    else:
        scales = resize_scales(book, node)
        if scales is None or len(scales) != len(axes):
            return ((None,) * len(x),)
        new = tuple(_scaled(x[axis], scale) for axis, scale in zip(axes, scales, strict=True))
    sizes: list[Size | None] = list(x)
    for axis, size in zip(axes, new, strict=True):
        sizes[axis] = size
    return (tuple(sizes),)


def resize_scales(book: Book, node: Node) -> tuple[float, ...] | None:
    """The scales of a Resize or Upsample, None where they are computed or not given."""
    if node.op == "Upsample" and not node.input(1):
        attribute = node.attribute("scales")
        return None if attribute is None else tuple(attribute.floats)
    array = book.constants.array(node.input(2 if node.op == "Resize" and book.opset >= 11 else 1), 64)
    if array is None or array.size == 0 or array.dtype.kind != "f":
        return None
    return tuple(float(scale) for scale in array.reshape(-1))


def _scaled(size: Size, scale: float) -> Size | None:
    return Size(size.factor * int(scale), size.symbols) if scale >= 1 and scale == int(scale) else None


def _gather(book: Book, node: Node) -> Found:
    x, index = book.of(node.inputs[0]), book.of(node.input(1))
    if x is None or index is None:
        return ()
    axis = counted(integer(node, "axis", 0), len(x))
    return ((*x[:axis], *index, *x[axis + 1 :]),)


def _expand(book: Book, node: Node) -> Found:
    x, target = book.of(node.inputs[0]), book.vector(node.input(1))
    known = () if target is None else tuple(size for size in target if size is not None)
    return (broadcast([x, known]),) if x is not None and target is not None and len(known) == len(target) else ()


def _shape(book: Book, node: Node) -> Found:
    rank = book.rank(node.inputs[0])
    if rank is None or node.attribute("start") is not None or node.attribute("end") is not None:
        return ((None,),)
    return ((Size(rank),),)


RESHAPE_RULES: Mapping[str, SizeRule] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Slice": _slice,
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
    "Gather": _gather,
    "Expand": _expand,
    "Shape": _shape,
}
