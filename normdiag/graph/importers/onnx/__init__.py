"""The computation of an ONNX model as an OpGraph: what folding plans on."""

from normdiag.graph.importers.onnx.build import op_graph

__all__ = ["op_graph"]
