"""PyTorch modules, live or from a file: statistics as buffers, and as bytes of the file that they came from."""

from normdiag.recalibration.pytorch.torch_target import TorchTarget

__all__ = ["TorchTarget"]
