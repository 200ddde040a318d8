"""The shapes that a graph computes: Shape, Gather, Concat and what exporters put between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from normdiag.graph.importers.onnx.attributes import integer
from normdiag.graph.importers.onnx.book import MAX_VALUES, Book, Value, ValueRule, numbers_of
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.importers.onnx.reshape_rules import cuts
from normdiag.graph.sizes import product, quotient
from normdiag.records import Size

ZERO, ONE = Size(0), Size(1)


def _shape(book: Book, node: Node) -> Value | None:
    sizes = book.of(node.inputs[0])
    return None if sizes is None else sizes[slice(integer(node, "start", 0), integer(node, "end", len(sizes)))]


def _size(book: Book, node: Node) -> Value | None:
    sizes = book.of(node.inputs[0])
    return None if sizes is None else product(sizes)


def _gather(book: Book, node: Node) -> Value | None:
    data, index = book.vector(node.inputs[0]), book.value(node.input(1))
    wanted = numbers_of(index)
    if data is None or wanted is None or integer(node, "axis", 0):
        return None
    found = tuple(data[i] for i in wanted)
    return found if isinstance(index, tuple) else found[0]


def _slice(book: Book, node: Node) -> Value | None:
    data, cut = book.vector(node.inputs[0]), cuts(book, node)
    if data is None or len(cut) != 1 or cut[0].start is None or cut[0].end is None or cut[0].step is None:
        return None
    return data[cut[0].start : cut[0].end : cut[0].step] if cut[0].step > 0 else None


def _concat(book: Book, node: Node) -> Value | None:
    parts = [book.vector(name) for name in node.inputs]
    joined = tuple(size for part in parts if part is not None for size in part)
    return joined if len(joined) <= MAX_VALUES and None not in parts else None


def _same(book: Book, node: Node) -> Value | None:
    return book.value(node.inputs[0])


def _cast(book: Book, node: Node) -> Value | None:
    """Between the integer types; a shape in floating point is not followed."""
    return book.value(node.inputs[0]) if integer(node, "to", 0) in (6, 7) else None


def _unsqueeze(book: Book, node: Node) -> Value | None:
    value = book.value(node.inputs[0])
    return (value,) if isinstance(value, Size) else None


def _squeeze(book: Book, node: Node) -> Value | None:
    value = book.vector(node.inputs[0])
    return value[0] if value is not None and len(value) == 1 else None


def _reshape(book: Book, node: Node) -> Value | None:
    value, target = book.value(node.inputs[0]), numbers_of(book.value(node.input(1)))
    if value is None or target is None or len(target) > 1:
        return None
    if not target:
        return value if isinstance(value, Size) else value[0] if len(value) == 1 else None
    return (value,) if isinstance(value, Size) else value


def _product(book: Book, node: Node) -> Value | None:
    value = book.value(node.inputs[0])
    if isinstance(value, Size):
        return value
    if value is None or None in value or integer(node, "keepdims", 1):
        return None
    return product(size for size in value if size is not None)


def _range(book: Book, node: Node) -> Value | None:
    """The axes from one on, which the functions of ONNX's own operators compute so."""
    bounds = [numbers_of(book.value(name)) for name in node.inputs]
    if len(bounds) != 3 or any(each is None or len(each) != 1 for each in bounds):
        return None
    start, stop, step = (each[0] for each in bounds if each is not None)
    found = range(start, stop, step) if step else range(0)
    return tuple(Size(each) for each in found) if len(found) <= MAX_VALUES else None


def _elementwise(combine: Callable[[Size, Size], Size | None]) -> ValueRule:
    def rule(book: Book, node: Node) -> Value | None:
        left, right = book.value(node.inputs[0]), book.value(node.input(1))
        if left is None or right is None:
            return None
        if isinstance(left, Size) and isinstance(right, Size):
            return combine(left, right)
        length = max(len(each) for each in (left, right) if isinstance(each, tuple))
        columns = zip(_stretched(left, length), _stretched(right, length), strict=True)
        return tuple(combine(a, b) if a is not None and b is not None else None for a, b in columns)

    return rule


def _stretched(value: Value, length: int) -> tuple[Size | None, ...]:
    listed = (value,) if isinstance(value, Size) else value
    return listed * length if len(listed) == 1 else listed


def _times(a: Size, b: Size) -> Size | None:
    return product((a, b))


def _over(a: Size, b: Size) -> Size | None:
    if a.known is not None and b.known:
        return Size(abs(a.known) // abs(b.known) * (1 if (a.known < 0) == (b.known < 0) else -1))
    return quotient(a, b)


def _plus(a: Size, b: Size) -> Size | None:
    if a.symbols == b.symbols:
        return Size(a.factor + b.factor, a.symbols)
    return a if b == ZERO else b if a == ZERO else None


def _minus(a: Size, b: Size) -> Size | None:
    if a.symbols == b.symbols:
        return ZERO if a == b else Size(a.factor - b.factor, a.symbols)
    return a if b == ZERO else None


VALUE_RULES: Mapping[str, ValueRule] = {
    "Shape": _shape,
    "Size": _size,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Identity": _same,
    "Cast": _cast,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "ReduceProd": _product,
    "Range": _range,
    "Mul": _elementwise(_times),
    "Div": _elementwise(_over),
    "Add": _elementwise(_plus),
    "Sub": _elementwise(_minus),
}
