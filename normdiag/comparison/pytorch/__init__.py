"""A PyTorch model whose tensors can be looked at and replaced."""

from normdiag.comparison.pytorch.traced_program import TracedProgram

__all__ = ["TracedProgram"]
