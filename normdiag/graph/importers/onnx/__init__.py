"""From an ONNX model to an OpGraph, and to the layers that `inspect` lists."""

from normdiag.graph.importers.onnx.build import op_graph
from normdiag.graph.importers.onnx.layers import with_layers

__all__ = ["op_graph", "with_layers"]
