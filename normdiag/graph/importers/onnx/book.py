"""What is known of the tensors of a graph so far: dimensions, element types, and the small values that carry shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field

from normdiag.graph.importers.onnx.constants import OnnxConstants
from normdiag.graph.importers.onnx.inference import Dims
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.records import Size, Sizes

# Shapes have as many elements as a tensor has dimensions.
MAX_VALUES = 64


@dataclass(frozen=True, eq=False)
class Book:
    """What is known so far: dimensions, element types (numpy names) and shape values of tensors by name.

    `declared` is what the file says of tensors, which may be wrong: only lists of layers go by it, and no edit. A value
    is a tuple of sizes for a tensor of one dimension, a lone Size for a scalar; None in it is unknown, and -1
    stands for itself.
    """

    constants: OnnxConstants
    sizes: MutableMapping[str, Sizes]
    dtypes: MutableMapping[str, str]
    values: MutableMapping[str, Value]
    declared: Mapping[str, Shape] = field(default_factory=dict)

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

    def listed(self, tensor: str) -> Shape | None:
        """Its dimensions as they follow from the graph or, where nothing does, as declared; None for a free one."""
        sizes, declared = self.of(tensor), self.declared.get(tensor)
        if sizes is None:
            return declared
        known = tuple(size.known for size in sizes)
        if declared is None or len(declared) != len(known):
            return known
        return tuple(other if size is None else size for size, other in zip(known, declared, strict=True))

    def listed_rank(self, tensor: str) -> int | None:
        """The number of these dimensions."""
        shape = self.listed(tensor)
        return None if shape is None else len(shape)

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


Shape = tuple[int | None, ...]
Value = Size | tuple[Size | None, ...]
SizeRule = Callable[[Book, Node], tuple[Dims | None, ...]]
ValueRule = Callable[[Book, Node], Value | None]


def _integers(constants: OnnxConstants, tensor: str) -> Value | None:
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
