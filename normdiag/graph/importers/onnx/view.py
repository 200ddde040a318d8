"""One ONNX graph with what is known of its tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from normdiag.graph.importers.onnx.book import Book
from normdiag.graph.importers.onnx.constants import OnnxConstants, make_constants
from normdiag.graph.importers.onnx.inference import constants_of, infer
from normdiag.graph.importers.onnx.nodes import Graph, make_graph
from normdiag.graph.importers.onnx.sizes import size_book
from normdiag.models.onnx.external import TensorReader
from normdiag.models.onnx.program import opset_of


@dataclass(frozen=True, eq=False)
class GraphView:
    """A graph, its constants, and the dimensions of its tensors."""

    graph: Graph
    constants: OnnxConstants
    book: Book

    def body(self, proto: Any) -> GraphView:
        """The view of an onnx.GraphProto that a node of this graph holds: the body of an If, Loop or Scan."""
        graph = make_graph(proto, self.graph.opset, self.graph)
        constants = make_constants(graph, self.constants.reader, self.constants)
        return GraphView(graph, constants, size_book(graph, constants, constants_of(proto), self.book))


def view_of(model: Any, reader: TensorReader) -> GraphView:
    """The view of the main graph of an onnx.ModelProto."""
    graph = make_graph(model.graph, opset_of(model))
    constants = make_constants(graph, reader)
    return GraphView(graph, constants, size_book(graph, constants, infer(model)))
