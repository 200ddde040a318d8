"""Models whose weights stay in their safetensors files: accelerate reads those of one block at a time, as it runs.

Nothing is copied to another place on disk: accelerate's index of offloaded weights names the files themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from normdiag.errors import UsageError
from normdiag.models.freed_memory import as_usual_after
from normdiag.models.pytorch.arrays import Array, to_tensor
from normdiag.models.pytorch.installed import RefusedError
from normdiag.models.pytorch.layers import module_layers, norm_kind
from normdiag.models.static.checkpoint_folder import StoredTensor
from normdiag.records import NormLayer
from normdiag.wording import abridged

INSTALL = "pip install accelerate"


@dataclass(frozen=True, eq=False)
class WeightFiles:
    """Where the weights of a module are: `stored` has the file's name of each tensor of its state dict.

    `tensors` are the file's, mapped, and `places` where each of them lies.
    """

    stored: Mapping[str, str]
    tensors: Mapping[str, Array]
    places: Mapping[str, StoredTensor]


def require_accelerate() -> None:
    """Raise UsageError where the package is not installed."""
    if find_spec("accelerate") is None:
        raise UsageError(f"that needs accelerate, which is not installed: {INSTALL}")


def stream(module: nn.Module, files: WeightFiles) -> tuple[NormLayer, ...]:
    """Have the weights of a module on the meta device read when they are used; returns its normalization layers.

    Weights are read for a block at a time where the class says what its blocks are (`_no_split_modules`), else for each
    module. Buffers, and the parameters of norms outside of blocks, are read once and kept. Raises RefusedError where a
    parameter is stored nowhere.
    """
    from accelerate.utils import OffloadedWeightsLoader

    stored = {**files.stored, **_tied(module, files.stored)}
    missing = [name for name, value in module.named_parameters(remove_duplicate=False) if name not in stored]
    if missing:
        raise RefusedError(f"its weights lack {abridged(missing)}")
    places = {name: files.places[theirs] for name, theirs in stored.items()}
    index = {name: {"safetensors_file": str(each.path), "weight_name": each.name} for name, each in places.items()}
    _load_small(module, stored, files.tensors)
    layers = module_layers(module)
    blocks = frozenset(map(str, getattr(module, "_no_split_modules", None) or ()))
    _attach(module, "", OffloadedWeightsLoader(index=index, device="cpu"), blocks)
    as_usual_after(module)
    return layers


def _tied(module: nn.Module, stored: Mapping[str, str]) -> dict[str, str]:
    """The other names of parameters that are stored under one."""
    names: dict[int, str] = {}
    every = list(module.named_parameters(remove_duplicate=False))
    for name, value in every:
        if name in stored:
            names.setdefault(id(value), stored[name])
    return {name: names[id(value)] for name, value in every if name not in stored and id(value) in names}


def _load_small(module: nn.Module, stored: Mapping[str, str], tensors: Mapping[str, Array]) -> None:
    """Fill the buffers that are stored, and the parameters of norms."""
    for path, each in module.named_modules():
        kind = norm_kind(each)
        held = dict(each.named_buffers(recurse=False)) | (dict(each.named_parameters(recurse=False)) if kind else {})
        for name, old in held.items():
            theirs = stored.get(f"{path}.{name}" if path else name)
            if theirs is not None:
                value = to_tensor(tensors[theirs]).to(old.dtype)
                parameter = isinstance(old, nn.Parameter)
                setattr(each, name, nn.Parameter(value, requires_grad=False) if parameter else value)


def _attach(module: nn.Module, path: str, weights: Any, blocks: frozenset[str]) -> None:
    """Hooks that read the weights of a block, or of a module's own, before its forward, and drop them after it."""
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module
    from accelerate.utils import PrefixedDataset

    is_block = type(module).__name__ in blocks
    if norm_kind(module) and not is_block:
        return
    if is_block or module._parameters:
        prefixed = PrefixedDataset(weights, f"{path}." if path else "")
        hook = AlignDevicesHook(torch.device("cpu"), offload=True, weights_map=prefixed, place_submodules=is_block)
        add_hook_to_module(module, hook)
    if not is_block:
        for name, child in module.named_children():
            _attach(child, f"{path}.{name}" if path else name, weights, blocks)
