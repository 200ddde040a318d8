"""Running ONNX models in onnxruntime with their normalization layers and activations watched."""

from normdiag.observe.onnx.runner import OnnxRunner

__all__ = ["OnnxRunner"]
