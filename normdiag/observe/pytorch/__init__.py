"""Watching PyTorch models run: hooks for module paths, modes for the calls, sums for everything else."""

from normdiag.observe.pytorch.runner import TorchRunner

__all__ = ["TorchRunner"]
