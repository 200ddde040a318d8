"""A small view of one ONNX graph: its nodes, who writes and who reads a tensor, and which hand on the same values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from normdiag.graph.numbers import shortest
from normdiag.models.onnx.parse import subgraphs

# The empty domain and its long name are the same.
DOMAINS = {"ai.onnx": ""}
# Nodes that hand on their first input unchanged as far as normalization is concerned.
PASSING = frozenset({"Identity", "Cast", "CastLike", "Dropout"})


@dataclass(frozen=True, eq=False)
class Node:
    """An onnx.NodeProto with its place in the graph."""

    index: int
    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    proto: Any

    def input(self, position: int) -> str:
        """The name of an input, or "" where it is left out."""
        return self.inputs[position] if position < len(self.inputs) else ""

    def attribute(self, name: str) -> Any:
        """The onnx.AttributeProto of that name, or None."""
        return next((a for a in self.proto.attribute if a.name == name), None)

    def number(self, name: str, default: float) -> float:
        """A float attribute, as the shortest decimal that gives this float32: 1e-05, not 9.999999747378752e-06."""
        attribute = self.attribute(name)
        return default if attribute is None else shortest(attribute.f)

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        attribute = self.attribute(name)
        return default if attribute is None else int(attribute.i)

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list of integers, or None where it is not given."""
        attribute = self.attribute(name)
        return None if attribute is None else tuple(int(i) for i in attribute.ints)

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        attribute = self.attribute(name)
        return default if attribute is None else attribute.s.decode("utf-8", "replace")


@dataclass(frozen=True, eq=False)
class Graph:
    """One graph or subgraph.

    `consumers` counts the uses of a tensor's values, in subgraphs too, and being a graph output as one use.
    """

    proto: Any
    nodes: tuple[Node, ...]
    producers: Mapping[str, Node]
    consumers: Mapping[str, int]
    roots: Mapping[str, str]
    parent: Graph | None = None
    opset: int = 0

    def producer(self, tensor: str) -> Node | None:
        """The node of this graph that writes `tensor`; None for inputs, initializers and tensors from outside."""
        return self.producers.get(tensor)

    def used_once(self, tensor: str) -> bool:
        """Whether exactly one node, and nobody else, reads `tensor`."""
        return self.consumers.get(tensor, 0) == 1

    def root(self, tensor: str) -> str:
        """The tensor whose values `tensor` hands on, through Identity, Cast and Dropout."""
        return self.roots.get(tensor, tensor)


def make_graph(proto: Any, opset: int, parent: Graph | None = None) -> Graph:
    """The view of an onnx.GraphProto."""
    nodes = tuple(_node(i, node) for i, node in enumerate(proto.node))
    producers = {output: node for node in nodes for output in node.outputs if output}
    consumers: dict[str, int] = {}
    for name in _uses(proto):
        consumers[name] = consumers.get(name, 0) + 1
    roots: dict[str, str] = {}
    for node in nodes:
        if node.op in PASSING and not node.domain and node.input(0) and node.outputs:
            roots[node.outputs[0]] = roots.get(node.inputs[0], node.inputs[0])
    return Graph(proto, nodes, producers, consumers, roots, parent, opset)


def _node(index: int, proto: Any) -> Node:
    domain = DOMAINS.get(proto.domain, proto.domain)
    return Node(index, proto.op_type, domain, proto.name, tuple(proto.input), tuple(proto.output), proto)


def _uses(proto: Any) -> Iterator[str]:
    """Every use of the values of a tensor: as a graph output, or as an input that is not read for its shape or type."""
    for node in proto.node:
        if node.op_type not in ("Shape", "Size"):
            yield from node.input[:1] if node.op_type == "CastLike" else node.input
        for body in subgraphs(node):
            yield from _uses(body)
    for output in proto.output:
        yield output.name
