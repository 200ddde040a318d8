"""PyTorch models: building them from the user's code, loading weights, listing their norms, and their computation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normdiag.models.pytorch.arch import build_arch, load_weights
from normdiag.models.pytorch.layers import module_layers, require_initialised, unwrap
from normdiag.models.pytorch.trusted import load_trusted

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from normdiag.records import OpGraph

__all__ = [
    "build_arch",
    "load_trusted",
    "load_weights",
    "module_layers",
    "require_initialised",
    "torch_graph",
    "unwrap",
]


def torch_graph(exported: ExportedProgram) -> OpGraph:
    """The computation of an exported program; see `opgraph.build.torch_graph`. torch.export is imported here only."""
    from normdiag.models.pytorch.opgraph import torch_graph as build

    return build(exported)
