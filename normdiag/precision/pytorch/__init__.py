"""Mixed precision in a PyTorch module."""

from normdiag.precision.pytorch.mixed import MixedModule

__all__ = ["MixedModule"]
