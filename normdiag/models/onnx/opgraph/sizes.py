"""The dimensions of every tensor, free ones as symbols, and the values of the small tensors that carry shapes.

Own rules first, since they know products (a flattened N x 512 is 512 * N) and shapes that the graph computes; where
they know nothing, what ONNX's shape inference found. Of what follows from a size that runtimes do not agree on,
inference tells only the number of dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from normdiag.models.onnx.constants import Constants
from normdiag.models.onnx.graph import Graph, Node
from normdiag.models.onnx.opgraph.attributes import Unclear
from normdiag.models.onnx.opgraph.inference import Dims, fresh, infer, input_sizes
from normdiag.records import Size, Sizes

# Shapes have as many elements as a tensor has dimensions.
MAX_VALUES = 64
# Operators whose first two inputs and first output are of one type.
UNIFORM = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div"})


@dataclass(frozen=True, eq=False)
class Book:
    """What is known so far: dimensions, element types (numpy names) and shape values of tensors by name.

    A value is a tuple of sizes for a tensor of one dimension, a lone Size for a scalar; None in it is unknown, and -1
    stands for itself.
    """

    constants: Constants
    sizes: dict[str, Sizes]
    dtypes: dict[str, str]
    values: dict[str, Value]

    @property
    def opset(self) -> int:
        """The operator set of the standard domain."""
        return self.constants.graph.opset

    def of(self, tensor: str) -> Sizes | None:
        """The dimensions of a tensor, None where not even their number is known."""
        return self.sizes.get(tensor)

    def rank(self, tensor: str) -> int | None:
        """The number of its dimensions."""
        sizes = self.sizes.get(tensor)
        return None if sizes is None else len(sizes)

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        """Its dimensions where all are known numbers."""
        known = [size.known for size in self.sizes.get(tensor, (Size(1, ("",)),))]
        return None if None in known else tuple(dim for dim in known if dim is not None)

    def value(self, tensor: str) -> Value | None:
        """The shape that an integer tensor holds, as far as it is known."""
        if tensor and tensor not in self.values and self.constants.is_constant(tensor):
            found = _integers(self.constants, tensor)
            if found is not None:
                self.values[tensor] = found
        return self.values.get(tensor)

    def vector(self, tensor: str) -> tuple[Size | None, ...] | None:
        """The same, of one dimension."""
        found = self.value(tensor)
        return found if isinstance(found, tuple) else None


Value = Size | tuple[Size | None, ...]
SizeRule = Callable[[Book, Node], tuple[Dims | None, ...]]
ValueRule = Callable[[Book, Node], Value | None]


def size_book(model: Any, graph: Graph, constants: Constants) -> Book:
    """Dimensions of all tensors of the main graph."""
    from normdiag.models.onnx.opgraph.shape_rules import SIZE_RULES, may_overrun
    from normdiag.models.onnx.opgraph.value_rules import VALUE_RULES

    inferred = infer(model)
    stored = {name: dims for name, dims in inferred.dims.items() if name in constants.initializers}
    sizes = {**input_sizes(graph.proto), **{name: tuple(d or Size(0) for d in dims) for name, dims in stored.items()}}
    book = Book(constants, sizes, dict(inferred.dtypes), {})
    doubtful: set[str] = set()
    for node in graph.nodes:
        if node.domain:
            found: tuple[Dims | None, ...] = ()
        else:
            found = _apply(SIZE_RULES.get(node.op), book, node) or ()
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
    if found is None:
        return
    same_rank = other is not None and len(other) == len(found)
    spare = other if same_rank and other is not None else (None,) * len(found)
    book.sizes[tensor] = tuple(
        size or inferred_size or Size(1, (fresh(tensor, axis),))
        for axis, (size, inferred_size) in enumerate(zip(found, spare, strict=True))
    )


def _enter_type(book: Book, node: Node) -> None:
    """Where inference fails, behind an unknown operation, the type of a product or sum is that of its operands."""
    if node.op in UNIFORM and not node.domain and node.outputs and node.outputs[0] not in book.dtypes:
        known = [book.dtypes[name] for name in node.inputs[:2] if name in book.dtypes]
        if known:
            book.dtypes[node.outputs[0]] = known[0]


def _integers(constants: Constants, tensor: str) -> Value | None:
    array = constants.array(tensor, MAX_VALUES)
    if array is None or array.ndim > 1 or array.dtype.kind not in "iu":
        return None
    return Size(int(array)) if array.ndim == 0 else tuple(Size(int(i)) for i in array)


def numbers_of(value: Value | None) -> tuple[int, ...] | None:
    """The numbers of a value that is known in full."""
    if value is None:
        return None
    known = [None if size is None else size.known for size in (value if isinstance(value, tuple) else (value,))]
    return None if None in known else tuple(number for number in known if number is not None)


def merged(*rules: Mapping[str, Any]) -> Mapping[str, Any]:
    """One table of several."""
    return {name: rule for table in rules for name, rule in table.items()}
