"""The static reader: weights, and what else a PyTorch-family file says, without torch and without running the file."""

from normdiag.models.static.checkpoint_folder import StoredTensor, find_checkpoint, read_checkpoint, tensor_places
from normdiag.models.static.declared_eps import declared_eps
from normdiag.models.static.gguf_file import gguf_parts, read_gguf
from normdiag.models.static.norms import norm_layers
from normdiag.models.static.quantized import quantization
from normdiag.models.static.read import read_static, read_tensors
from normdiag.models.static.staticfile import ModuleFacts, StaticFile

__all__ = [
    "ModuleFacts",
    "StaticFile",
    "StoredTensor",
    "declared_eps",
    "find_checkpoint",
    "gguf_parts",
    "norm_layers",
    "quantization",
    "read_checkpoint",
    "read_gguf",
    "read_static",
    "read_tensors",
    "tensor_places",
]
