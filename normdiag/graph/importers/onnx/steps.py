"""The nodes of an ONNX graph as steps of arithmetic."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from normdiag.graph.importers.onnx.book import Book, Shape, numbers_of
from normdiag.graph.importers.onnx.constants import OnnxConstants
from normdiag.graph.importers.onnx.filled import filled_with
from normdiag.graph.importers.onnx.functions import OPERATORS, function_of
from normdiag.graph.importers.onnx.nodes import PASSING, Graph, Node
from normdiag.graph.importers.onnx.view import GraphView
from normdiag.graph.recognise.steps import Operand, Step
from normdiag.records import Size, Sizes
from normdiag.records.model import Array


@dataclass(frozen=True, eq=False)
class OnnxTensors:
    """What recognition asks of the tensors of an ONNX graph (graph.recognise.steps.Tensors)."""

    view: GraphView

    @property
    def graph(self) -> Graph:
        """The graph."""
        return self.view.graph

    @property
    def constants(self) -> OnnxConstants:
        """What is constant in it."""
        return self.view.constants

    @cached_property
    def steps(self) -> Mapping[str, Step]:
        """The steps by the tensor that they write, in the order of the graph."""
        return {step.output: step for step in _steps(self.view.book)}

    def is_constant(self, operand: Operand) -> bool:
        """Whether it depends on no input of the graph."""
        return not isinstance(operand, str) or self.constants.is_constant(operand)

    def scalar(self, operand: Operand) -> float | None:
        """A constant of one element."""
        return self.constants.scalar(operand) if isinstance(operand, str) else operand

    def array(self, operand: Operand) -> Array | None:
        """The values of a constant."""
        return self.constants.array(operand) if isinstance(operand, str) else None

    def shape(self, operand: Operand) -> Shape | None:
        """Its dimensions, None for one that is free."""
        return self.view.book.listed(operand) if isinstance(operand, str) else ()

    def rank(self, operand: Operand) -> int | None:
        """The number of its dimensions."""
        return self.view.book.listed_rank(operand) if isinstance(operand, str) else 0

    def sizes(self, operand: Operand) -> Sizes | None:
        """Its dimensions with free ones as symbols."""
        return self.view.book.of(operand) if isinstance(operand, str) else ()

    def count(self, operand: Operand) -> Size | None:
        """A number that the graph computes from dimensions, cast to the type of the data or not."""
        if not isinstance(operand, str):
            return None
        value = self.view.book.value(self.root(operand))
        listed = value if isinstance(value, tuple) else (value,)
        return listed[0] if len(listed) == 1 else None

    def read_only_by(self, operand: Operand, places: Collection[int]) -> bool:
        """Whether nobody reads it but the nodes at these places."""
        if not isinstance(operand, str):
            return False
        uses = sum(self.graph.nodes[place].inputs.count(operand) for place in places)
        return uses == self.graph.consumers.get(operand, 0)

    def used_once(self, operand: Operand) -> bool:
        """Whether exactly one node, and nobody else, reads it."""
        return isinstance(operand, str) and self.graph.used_once(operand)

    def root(self, operand: Operand) -> str:
        """Through Identity, Cast and Dropout."""
        return self.graph.root(operand) if isinstance(operand, str) else ""

    def maker(self, operand: Operand) -> Step | None:
        """The step that writes it."""
        return self.steps.get(operand) if isinstance(operand, str) else None


def _steps(book: Book) -> Iterator[Step]:
    constants = book.constants
    for node in constants.graph.nodes:
        if not node.input(0) or not node.outputs or not node.outputs[0]:
            continue
        called = (node.domain, node.op) in OPERATORS
        step = _called(node, constants) if called else None if node.domain else _step(node, book)
        if step is not None:
            yield step


def _called(node: Node, constants: OnnxConstants) -> Step:
    """A function of the registry, None in it where its numbers are not known."""
    kind, function = "clip" if node.op == "Clip" else "function", function_of(node, constants)
    return Step(node.index, kind, node.inputs[:1], node.outputs[0], function=function)


def _step(node: Node, book: Book) -> Step | None:
    place, output, constants, graph = node.index, node.outputs[0], book.constants, book.constants.graph
    if node.op in REDUCTIONS:
        axes = node.integers("axes") or numbers_of(book.value(node.input(1))) or ()
        return Step(place, REDUCTIONS[node.op], node.inputs[:1], output, axes, node.integer("keepdims", 1) != 0)
    if node.op == "Reshape":
        return Step(place, "reshape", node.inputs[:1], output, like=_like(node, graph))
    if node.op == "BatchNormalization":
        return _batch_norm(node, constants)
    kind, count = PLAIN.get(node.op, ("", 0))
    inputs = node.inputs[:count]
    if not kind or len(inputs) < count or not all(inputs):
        return None
    return Step(place, kind, inputs, output, eps=node.number("epsilon", 1e-5) if kind == "instance_norm" else 0.0)


def _like(node: Node, graph: Graph) -> str:
    measured = graph.producer(graph.root(node.input(1)))
    return graph.root(measured.input(0)) if measured is not None and measured.op == "Shape" else ""


def _batch_norm(node: Node, constants: OnnxConstants) -> Step | None:
    """One without scale and shift, whose mean and variance the graph computes."""
    x, *statistics = node.input(0), node.input(3), node.input(4)
    scale, shift = (filled_with(name, constants) for name in (node.input(1), node.input(2)))
    if not all(statistics) or (scale, shift) != (1.0, 0.0):
        return None
    return Step(node.index, "batch_norm", (x, *statistics), node.outputs[0], eps=node.number("epsilon", 1e-5))


REDUCTIONS = {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceSumSquare": "sum_square", "ReduceL2": "norm"}
# Kind, and how many inputs there must be.
PLAIN = {
    **{op: (op.lower(), 2) for op in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min")},
    **{op: (op.lower(), 1) for op in ("Sqrt", "Reciprocal", "Erf", "Neg")},
    "Unsqueeze": ("broadcast", 1),
    "Expand": ("expand", 1),
    **dict.fromkeys(("Squeeze", "Flatten"), ("reshape", 1)),
    **dict.fromkeys(PASSING, ("pass", 1)),
    "InstanceNormalization": ("instance_norm", 3),
}
