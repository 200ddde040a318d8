"""Mixed precision in an ONNX graph."""

from normdiag.precision.onnx.mixed import MixedGraph

__all__ = ["MixedGraph"]
