"""ONNX files: statistics as initializers, and nodes in training mode put into evaluation mode."""

from normdiag.recalibration.onnx.onnx_target import OnnxTarget

__all__ = ["OnnxTarget"]
