"""Reading ONNX files: parse, find the normalization layers and activations, never run anything."""

from normdiag.models.onnx.load import load_onnx
from normdiag.models.onnx.program import ActivationSite, NormSite, OnnxProgram

__all__ = ["ActivationSite", "NormSite", "OnnxProgram", "load_onnx"]
