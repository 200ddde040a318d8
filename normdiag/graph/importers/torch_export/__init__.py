"""The OpGraph of a program that torch.export made, on which folds are planned."""

from normdiag.graph.importers.torch_export.build import torch_graph
from normdiag.graph.importers.torch_export.constants import ReadStored, stored_names

__all__ = ["ReadStored", "stored_names", "torch_graph"]
