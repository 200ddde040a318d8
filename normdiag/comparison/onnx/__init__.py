"""An ONNX model whose tensors can be looked at and replaced."""

from normdiag.comparison.onnx.traced_graph import TracedGraph

__all__ = ["TracedGraph"]
