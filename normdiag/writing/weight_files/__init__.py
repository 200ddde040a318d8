"""PyTorch-family files with the values of some tensors replaced: every other byte stays, and nothing of them runs."""

from normdiag.writing.weight_files.tensor_values import WeightFile, open_weights

__all__ = ["WeightFile", "open_weights"]
