"""Constants as operations read them: shape and type without reading, the values on demand.

A parameter must not be rewritten where it is quantized, where the graph computes it in a way that is not evaluated
here, or where it is a graph input: from IR version 4 on, an initializer that is also listed as an input is a default
that the caller may replace. But exporters used to list *all* initializers among the inputs, as IR version 3 demanded,
and many models of version 4 and later still do (ultraface does). Nobody means all weights to be replaced one by one, so
where at least nine in ten initializers are listed, and before version 4, that is taken for the habit and not for an
interface. Only where a few are listed they are an interface.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from normdiag.errors import InputError
from normdiag.graph.importers.onnx.attributes import Unclear
from normdiag.graph.importers.onnx.book import Book
from normdiag.graph.importers.onnx.constants import FOLDS, MAX_FOLDED, OnnxConstants, operands_of
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.records import Parameter
from normdiag.records.model import Array

# The first IR version in which an initializer need not be an input.
OVERRIDABLE_IR = 4
HABIT = 0.9
QUANTIZED = "is quantized"
COMPUTED = "is computed by the graph"
GRAPH_INPUT = "is a graph input"
# These only rearrange or widen what is stored, so that a tensor of any size may go through them when it is read.
VIEWS = frozenset({"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Cast"})
# The size of a weight is no copy of it: whoever asks for it does not share the weight.
READS_NO_VALUES = frozenset({"Shape", "Size"})
_MAX_STEPS = 64
_MAX_SOURCES = 64


@dataclass(frozen=True, eq=False)
class Store:
    """The constants of a graph as parameters.

    `stored` maps each constant tensor to the stored tensors that it is made of; `crowded` are those that go into a
    constant which is made of too many to be listed.
    """

    constants: OnnxConstants
    book: Book
    overridable: frozenset[str]
    stored: Mapping[str, frozenset[str]]
    crowded: frozenset[str]

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor depends on constants alone."""
        return self.constants.is_constant(tensor)

    def parameter(self, tensor: str, what: str = "parameter") -> Parameter:
        """A constant as a parameter. Raises Unclear where it is none, or where shape or type are not known."""
        if not self.is_constant(tensor):
            raise Unclear(f"whose {what} is computed by the graph")
        shape, dtype = self.book.shape(tensor), self.book.dtypes.get(tensor)
        obstacle = self.obstacle(tensor)
        if shape is None or dtype is None:
            raise Unclear(f"whose {what} {obstacle or 'is of unknown shape or type'}")
        return Parameter(tensor, shape, dtype, self._reader(tensor, shape), (), obstacle)

    def optional(self, tensor: str, what: str = "parameter") -> Parameter | None:
        """The same, None for one that is left out."""
        return self.parameter(tensor, what) if tensor else None

    def array(self, tensor: str) -> Array | None:
        """The values of a constant that is small or needs no computing; None for another."""
        shape = self.book.shape(tensor)
        return self.constants.array(tensor) if shape is None or math.prod(shape) <= MAX_FOLDED else None

    def obstacle(self, tensor: str) -> str | None:
        """Why a constant must not be replaced by another."""
        sources = self.stored.get(tensor, frozenset())
        if sources & self.overridable:
            return GRAPH_INPUT
        if self._dequantized(tensor):
            return QUANTIZED
        return None if self._readable(tensor) else COMPUTED

    def _dequantized(self, tensor: str) -> bool:
        for _ in range(_MAX_STEPS):
            node = self.constants.graph.producer(tensor)
            if node is None or node.op not in (*VIEWS, "DequantizeLinear"):
                return False
            if node.op == "DequantizeLinear":
                return True
            tensor = node.input(0)
        return False

    def _readable(self, tensor: str) -> bool:
        base, _ = self._views(tensor)
        node = self.constants.graph.producer(base)
        if node is None:
            return base in self.constants.initializers
        if node.op == "Constant" and not node.domain:
            return node.attribute("value") is not None or self.array(base) is not None
        return self.array(base) is not None

    def _views(self, tensor: str) -> tuple[str, tuple[Node, ...]]:
        """The tensor that `tensor` is a view of, and the nodes that make it one, from there."""
        nodes: list[Node] = []
        for _ in range(_MAX_STEPS):
            node = self.constants.graph.producer(tensor)
            if node is None or node.domain or node.op not in VIEWS:
                break
            nodes.append(node)
            tensor = node.input(0)
        return tensor, tuple(reversed(nodes))

    def _reader(self, tensor: str, shape: tuple[int, ...]) -> Callable[[], Array]:
        def read() -> Array:
            base, views = self._views(tensor)
            value = self.constants.array(base, math.prod(shape))
            for node in views:
                value = None if value is None else _viewed(node, value, self.constants)
            if value is None or value.shape != shape:
                raise InputError(f"{self.constants.reader.path}: tensor {tensor!r} does not have the shape {shape}")
            return value

        return read


def _viewed(node: Node, value: Array, constants: OnnxConstants) -> Array | None:
    """One step; the shape or axes of it are constants too."""
    operands = [constants.array(name, _MAX_STEPS) for name in node.inputs[1:] if name]
    if any(operand is None for operand in operands):
        return None
    try:
        return FOLDS[node.op](node, [value, *(operand for operand in operands if operand is not None)])
    except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError):
        return None


def make_store(constants: OnnxConstants, book: Book, ir_version: int) -> Store:
    """The constants of a graph, and which of them callers may replace."""
    listed = {value.name for value in constants.graph.proto.input} & constants.initializers.keys()
    habit = ir_version < OVERRIDABLE_IR or len(listed) >= HABIT * len(constants.initializers)
    stored, crowded = _sources(constants)
    return Store(constants, book, frozenset() if habit else frozenset(listed), stored, crowded)


def _sources(constants: OnnxConstants) -> tuple[Mapping[str, frozenset[str]], frozenset[str]]:
    """The stored tensors (initializers, and outputs of nodes without inputs) that each constant is made of."""
    sources: dict[str, frozenset[str]] = {name: frozenset({name}) for name in constants.initializers}
    crowded: set[str] = set()
    for node in constants.graph.nodes:
        outputs = [name for name in node.outputs if constants.is_constant(name)]
        if not outputs:
            continue
        read = () if node.op in READS_NO_VALUES else operands_of(node)
        above = frozenset[str]().union(*(sources.get(name, frozenset()) for name in read))
        if len(above) > _MAX_SOURCES:
            crowded |= above
            above = frozenset()
        for name in outputs:
            sources[name] = above or frozenset({name})
    return sources, frozenset(crowded)
