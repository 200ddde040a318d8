"""Folding PyTorch models: by way of torch.export into .onnx, .pt2 or weights."""

from normdiag.folding.pytorch.foldable import TorchFoldable, TorchFolded
from normdiag.folding.pytorch.load import load_folded

__all__ = ["TorchFoldable", "TorchFolded", "load_folded"]
