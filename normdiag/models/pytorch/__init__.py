"""PyTorch models: building them from the user's code, loading weights, listing their norms."""

from normdiag.models.pytorch.arch import build_arch, load_weights
from normdiag.models.pytorch.layers import module_layers, require_initialised, unwrap
from normdiag.models.pytorch.trusted import load_trusted

__all__ = ["build_arch", "load_trusted", "load_weights", "module_layers", "require_initialised", "unwrap"]
