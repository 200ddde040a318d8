"""What the rules that read operations share, and what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from normdiag.graph.dtypes import FLOATS
from normdiag.graph.importers.onnx.book import Book
from normdiag.graph.importers.onnx.nodes import Graph, Node
from normdiag.graph.importers.onnx.parameters import Store
from normdiag.models.onnx.parse import subgraphs, walk_nodes
from normdiag.records import Detail, OpKind, Sizes


@dataclass(frozen=True, eq=False)
class GraphScope:
    """One graph with everything known about its tensors.

    `readers` are the indexes of the nodes that list a tensor as input, for its shape alone too. `held` names tensors
    that are also graph outputs or read by a subgraph. `shapes` are tensors that depend on the dimensions of others
    and on constants alone. `functions` are the model's own, by domain and name.
    """

    graph: Graph
    store: Store
    book: Book
    readers: Mapping[str, tuple[int, ...]]
    held: frozenset[str]
    shapes: frozenset[str]
    functions: frozenset[tuple[str, str]]

    @property
    def opset(self) -> int:
        """The operator set of the standard domain."""
        return self.graph.opset

    def private(self, tensor: str, nodes: Iterable[int]) -> bool:
        """Whether nobody but these nodes reads a tensor, not even its shape."""
        return tensor not in self.held and set(self.readers.get(tensor, ())) <= set(nodes)

    def data(self, node: Node) -> tuple[str, ...]:
        """The inputs whose values are read and are not constant."""
        if not node.domain and node.op in ("Shape", "Size"):
            return ()
        read = node.inputs[:1] if node.op == "CastLike" and not node.domain else node.inputs
        return tuple(name for name in read if name and not self.store.is_constant(name))

    def is_structure(self, tensor: str) -> bool:
        """Whether an operand says how to rearrange data, and changes with none: a shape, an axis, a scale."""
        if self.store.is_constant(tensor):
            return not self.store.stored.get(tensor, frozenset()) & self.store.overridable
        return tensor in self.shapes or (self.book.dtypes.get(tensor) or "float")[:3] in ("int", "uin", "boo")

    def is_float(self, tensor: str) -> bool:
        """Whether the arithmetic of a tensor is that of floating point."""
        return self.book.dtypes.get(tensor) in FLOATS


@dataclass(frozen=True, eq=False)
class UnnamedOp:
    """An operation as a rule reads it from a node. `name` is set where it is fixed already.

    `rest` are further steps, each on what the one before it gives; `sizes` those of what a step gives to the next.
    """

    kind: OpKind
    inputs: tuple[str, ...]
    detail: Detail
    name: str = ""
    sizes: Sizes | None = None
    rest: tuple[UnnamedOp, ...] = ()

    @property
    def steps(self) -> tuple[UnnamedOp, ...]:
        """All of its steps."""
        return (self, *self.rest)

    def followed_by(self, *others: UnnamedOp) -> UnnamedOp:
        """The same with these steps after it."""
        return replace(self, rest=(*self.rest, *others))


@dataclass(frozen=True, eq=False)
class Claim:
    """Several nodes that are one operation, which runs at the place of node `at`."""

    draft: UnnamedOp
    operator: str
    outputs: tuple[str, ...]
    nodes: tuple[int, ...]
    at: int


Rule = Callable[[GraphScope, Node], UnnamedOp]


def make_scope(model: Any, graph: Graph, store: Store, book: Book) -> GraphScope:
    """The scope of the main graph."""
    readers: dict[str, list[int]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node.index)
    held = {output.name for output in graph.proto.output} | set(captured(graph))
    listed = {name: tuple(found) for name, found in readers.items()}
    functions = frozenset((function.domain, function.name) for function in model.functions)
    return GraphScope(graph, store, book, listed, frozenset(held), _shapes(graph, store), functions)


def _shapes(graph: Graph, store: Store) -> frozenset[str]:
    found: set[str] = set()
    for node in graph.nodes:
        measured = node.op in ("Shape", "Size") and not node.domain
        derived = node.inputs and all(not name or name in found or store.is_constant(name) for name in node.inputs)
        if measured or (derived and not any(subgraphs(node.proto))):
            found.update(name for name in node.outputs if name)
    return frozenset(found)


def captured(graph: Graph) -> Mapping[str, Node]:
    """The tensors of the graph that subgraphs read, and the node that the first of these belongs to."""
    found: dict[str, Node] = {}
    for node in graph.nodes:
        for body in subgraphs(node.proto):
            for inner in walk_nodes(body.node):
                for name in inner.input:
                    found.setdefault(name, node)
                for deeper in subgraphs(inner):
                    for output in deeper.output:
                        found.setdefault(output.name, node)
            for output in body.output:
                found.setdefault(output.name, node)
    found.pop("", None)
    return found
