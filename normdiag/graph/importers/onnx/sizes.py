"""The dimensions of every tensor, free ones as symbols, and the values of the small tensors that carry shapes.

Own rules first, since they know products (a flattened N x 512 is 512 * N) and shapes that the graph computes; where
they know nothing, what ONNX's shape inference found. Of what follows from a size that runtimes do not agree on,
inference tells only the number of dimensions.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable
from typing import Any

from normdiag.graph.importers.onnx.attributes import Unclear
from normdiag.graph.importers.onnx.book import MAX_VALUES, Book
from normdiag.graph.importers.onnx.constants import OnnxConstants
from normdiag.graph.importers.onnx.inference import Dims, Inferred, declared_shapes, fresh, input_sizes
from normdiag.graph.importers.onnx.nodes import Graph, Node
from normdiag.graph.importers.onnx.shape_rules import CONTRIB_RULES, SIZE_RULES, may_overrun
from normdiag.graph.importers.onnx.value_rules import VALUE_RULES
from normdiag.models.onnx.parse import MAX_RANK
from normdiag.records import Size, Sizes

MICROSOFT = "com.microsoft"
# Operators whose first two inputs and first output are of one type.
UNIFORM = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div"})


def size_book(graph: Graph, constants: OnnxConstants, inferred: Inferred, outer: Book | None = None) -> Book:
    """Dimensions of all tensors of a graph; of the body of an If, Loop or Scan with what it sees of the `outer` one."""
    stored = {name: dims for name, dims in inferred.dims.items() if name in constants.initializers}
    sizes = {**input_sizes(graph.proto), **{name: tuple(d or Size(0) for d in dims) for name, dims in stored.items()}}
    book = _opened(constants, sizes, dict(inferred.dtypes), outer)
    doubtful: set[str] = set()
    for node in graph.nodes:
        rules = CONTRIB_RULES if node.domain == MICROSOFT else {} if node.domain else SIZE_RULES
        found = _apply(rules.get(node.op), book, node) or ()
        if not node.domain:
            value = _apply(VALUE_RULES.get(node.op), book, node)
            if value is not None and node.outputs and (isinstance(value, Size) or len(value) <= MAX_VALUES):
                book.values[node.outputs[0]] = value
        if not doubtful.isdisjoint(node.inputs) or (not node.domain and _apply(may_overrun, book, node)):
            doubtful.update(filter(None, node.outputs))
        for position, output in enumerate(node.outputs):
            if output:
                other = inferred.dims.get(output)
                other = (None,) * len(other) if other is not None and output in doubtful else other
                _enter(book, output, found[position] if position < len(found) else None, other)
        _enter_type(book, node)
    return book


def _opened(constants: OnnxConstants, sizes: dict[str, Sizes], dtypes: dict[str, str], outer: Book | None) -> Book:
    declared = declared_shapes(constants.graph.proto)
    if outer is None:
        return Book(constants, sizes, dtypes, {}, declared)
    return Book(
        constants,
        ChainMap(sizes, outer.sizes),
        ChainMap(dtypes, outer.dtypes),
        ChainMap({}, outer.values),
        {**outer.declared, **declared},
    )


def _apply(rule: Callable[[Book, Node], Any] | None, book: Book, node: Node) -> Any:
    """What a rule finds; nothing for a node that is not as it should be."""
    if rule is None or not node.inputs:
        return None
    try:
        return rule(book, node)
    except (Unclear, ValueError, TypeError, LookupError, ArithmeticError):
        return None


def _enter(book: Book, tensor: str, found: Dims | None, other: Dims | None) -> None:
    """Dimension by dimension: the rule's, else the inferred `other`, else a symbol of its own."""
    if found is None:
        found = other
    if found is None or len(found) > MAX_RANK:
        return
    same_rank = other is not None and len(other) == len(found)
    spare = other if same_rank and other is not None else (None,) * len(found)
    book.sizes[tensor] = tuple(
        size or inferred_size or Size(1, (fresh(tensor, axis),))
        for axis, (size, inferred_size) in enumerate(zip(found, spare, strict=True))
    )


def _enter_type(book: Book, node: Node) -> None:
    """Where inference fails, after an unknown operation, the type of a product or sum is that of its operands."""
    if node.op in UNIFORM and not node.domain and node.outputs and node.outputs[0] not in book.dtypes:
        known = [book.dtypes[name] for name in node.inputs[:2] if name in book.dtypes]
        if known:
            book.dtypes[node.outputs[0]] = known[0]
