"""Putting folded weights into the architecture that they came from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm

from normdiag.errors import InputError
from normdiag.models.pytorch.arrays import to_tensor
from normdiag.models.pytorch.layers import norm_kind, require_initialised, tensor
from normdiag.models.pytorch.put_weights import put_weights
from normdiag.wording import abridged

LISTED = 5
OPTIONAL = "num_batches_tracked"
ROLES = ("weight", "bias")
# What torch.nn.utils.weight_norm and spectral_norm, the ones before parametrizations, store in place of a weight.
LEGACY = (("_g", "_v"), ("_orig", "_u", "_v"), ("_orig", "_u"))


def load_folded(module: nn.Module, weights: Mapping[str, Any] | str | Path) -> nn.Module:
    """Load weights that `normdiag fold` wrote into a freshly built module of the original architecture, and return it.

    `weights` is a .safetensors, .pt or .pth file, which is read without running anything, or a state dict of tensors or
    arrays. Norm modules of which the weights hold nothing become torch.nn.Identity, layers get the bias that they had
    not, and parametrized weights become plain ones; the rest is loaded strictly. `module` is changed.

    Raises InputError for weights that do not fit; the module is then as it was.
    """
    require_initialised(module)
    given = _read(weights)
    changes = _changes(module, given)
    problems = _problems(module, given, changes)
    if problems:
        raise InputError(f"the weights do not fit the module: {'; '.join(problems)}")
    for path, role in changes.plain:
        _make_plain(module.get_submodule(path), role)
    for path, role in changes.gained:
        _give(module.get_submodule(path), role, given[_key(path, role)])
    for path, role in changes.lost:
        module.get_submodule(path).register_parameter(role, None)
    _untie(module, given)
    for path in changes.gone:
        parent, _, name = path.rpartition(".")
        setattr(module.get_submodule(parent), name, nn.Identity())
    put_weights(module, {name: given[name] for name in module.state_dict() if name in given})
    return module


def parametrization_keys(name: str, keys: Collection[str]) -> list[str]:
    """The keys that a state dict has in place of a tensor of this name, where that is parametrized."""
    path, _, role = name.rpartition(".")
    inside = _key(path, f"parametrizations.{role}.")
    found = [key for key in keys if key.startswith(inside)]
    for endings in LEGACY:
        legacy = [name + ending for ending in endings]
        if not found and name not in keys and all(key in keys for key in legacy):
            return legacy
    return found


@dataclass(frozen=True)
class _Changes:
    """What the module needs before the weights fit: paths of norms, and (path, 'weight' or 'bias') of parameters."""

    gone: tuple[str, ...]
    lost: tuple[tuple[str, str], ...]
    gained: tuple[tuple[str, str], ...]
    plain: tuple[tuple[str, str], ...]


def _changes(module: nn.Module, given: Collection[str]) -> _Changes:
    own = module.state_dict()
    gone, lost, gained, plain = [], [], [], []
    for path, each in module.named_modules(remove_duplicate=False):
        held = [name for name in own if name.startswith(f"{path}.")] if path else []
        absent = bool(held) and not any(name in given for name in held)
        kind = norm_kind(each) if absent else None
        if kind in ("batch_norm", "instance_norm") and tensor(each, "running_var") is not None:
            gone.append(path)
            continue
        for role in ROLES:
            name = _key(path, role)
            if absent and isinstance(each, nn.LayerNorm | nn.RMSNorm) and name in own:
                lost.append((path, role))
            elif name in given and name not in own and parametrization_keys(name, own):
                plain.append((path, role))
            elif name in given and name not in own and each._parameters.get(role, each) is None:
                gained.append((path, role))
    return _Changes(tuple(gone), tuple(lost), tuple(gained), tuple(plain))


def _problems(module: nn.Module, given: Mapping[str, Tensor], changes: _Changes) -> list[str]:
    """One phrase for each way in which the weights would not fit the changed module."""
    shapes = _shapes(module, changes)
    missing = [name for name in shapes if name not in given and not name.endswith(OPTIONAL)]
    unexpected = [name for name in given if name not in shapes and not name.endswith(OPTIONAL)]
    misshapen = [
        f"{name} is {tuple(given[name].shape)} and the module wants {shape}"
        for name, shape in shapes.items()
        if name in given and tuple(given[name].shape) != shape
    ]
    groups = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    listed = [f"{len(names)} {what}: {abridged(names, LISTED)}" for what, names in groups.items() if names]
    return listed or [f"{one} and {two} are one tensor with two values" for one, two in _torn(module, given)]


def _shapes(module: nn.Module, changes: _Changes) -> dict[str, tuple[int, ...]]:
    """The names and shapes that the module will have."""
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    shapes = {name: tuple(value.shape) for name, value in own.items()}
    for path in changes.gone:
        shapes = {name: shape for name, shape in shapes.items() if not name.startswith(f"{path}.")}
    for path, role in changes.lost:
        shapes.pop(_key(path, role), None)
    for path, role in changes.plain:
        for name in parametrization_keys(_key(path, role), own):
            shapes.pop(name, None)
        shapes[_key(path, role)] = tuple(getattr(module.get_submodule(path), role).shape)
    for path, role in changes.gained:
        shapes[_key(path, role)] = (_channels(module.get_submodule(path)),)
    return shapes


def _channels(module: nn.Module) -> int:
    """How many a layer's new bias has."""
    counts = (getattr(module, name, None) for name in ("out_channels", "out_features", "num_features", "num_channels"))
    return next((count for count in counts if isinstance(count, int)), 0)


def _torn(module: nn.Module, given: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Names of one tensor of one module that would get different values."""
    first: dict[tuple[int, str], str] = {}
    for path, each in module.named_modules(remove_duplicate=False):
        for role in each._parameters:
            name = _key(path, role)
            other = first.setdefault((id(each), role), name)
            if name in given and other in given and not torch.equal(given[name], given[other]):
                yield other, name


def _untie(module: nn.Module, given: Mapping[str, Tensor]) -> None:
    """Give modules that share a parameter one each, where folding has made them differ."""
    first: dict[int, str] = {}
    for path, each in list(module.named_modules()):
        for role, value in list(each._parameters.items()):
            name = _key(path, role)
            if value is None or name not in given:
                continue
            other = first.setdefault(id(value), name)
            if not torch.equal(given[name], given[other]):
                each.register_parameter(role, nn.Parameter(value.detach().clone(), value.requires_grad))


def _make_plain(module: nn.Module, role: str) -> None:
    if parametrize.is_parametrized(module, role):
        # Copies of a parametrized module share its class, from which torch then takes the property.
        kind = type(module)
        module.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
        parametrize.remove_parametrizations(module, role, leave_parametrized=True)
    elif hasattr(module, f"{role}_g"):
        remove_weight_norm(module, role)
    else:
        remove_spectral_norm(module, role)


def _give(module: nn.Module, role: str, value: Tensor) -> None:
    """A parameter where there was None, in the dtype and on the device of the module's others."""
    like = next(module.parameters(recurse=False), value)
    module.register_parameter(role, nn.Parameter(torch.zeros_like(value, dtype=like.dtype, device=like.device)))


def _read(weights: Mapping[str, Any] | str | Path) -> dict[str, Tensor]:
    if isinstance(weights, Mapping):
        given = dict(weights)
    else:
        from normdiag.models.sniff import sniff
        from normdiag.models.static import read_static

        path = Path(weights)
        form = sniff(path)
        if form == "onnx":
            raise InputError(f"{path}: is a whole ONNX model, which needs no module: run it with onnxruntime")
        given = dict(read_static(path, form, None).tensors)
    return {
        name: each.detach() if isinstance(each, Tensor) else to_tensor(np.asarray(each)) for name, each in given.items()
    }


def _key(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
