"""The OpGraph of a program that torch.export made, on which folds are planned."""

from normdiag.models.pytorch.opgraph.build import torch_graph
from normdiag.models.pytorch.opgraph.constants import stored_names

__all__ = ["stored_names", "torch_graph"]
