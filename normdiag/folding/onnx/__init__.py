"""Folding in ONNX files: only what a plan touches is changed, all else is copied byte for byte."""

from normdiag.folding.onnx.foldable import OnnxFoldable, OnnxFolded

__all__ = ["OnnxFoldable", "OnnxFolded"]
