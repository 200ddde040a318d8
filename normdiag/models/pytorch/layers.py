"""Which modules of a PyTorch model are normalization layers, and what they say of themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from normdiag.errors import InputError
from normdiag.models.pytorch.arrays import Array, to_numpy
from normdiag.models.pytorch.torch_private import BatchNormBase, InstanceNormBase
from normdiag.records import NormKind, NormLayer

_TYPES: tuple[tuple[type[nn.Module], NormKind], ...] = (
    (BatchNormBase, "batch_norm"),
    (InstanceNormBase, "instance_norm"),
    (nn.LayerNorm, "layer_norm"),
    (nn.GroupNorm, "group_norm"),
    (nn.RMSNorm, "rms_norm"),
)
# What DETR's frozen BatchNorm has in its code, and in no attribute.
FROZEN_EPS = 1e-5
FROZEN = "frozen: gamma, beta and statistics are buffers, which training does not change"
_EPS_NAMES = ("eps", "variance_epsilon", "epsilon")


def unwrap(module: nn.Module) -> nn.Module:
    """The model inside DataParallel, DistributedDataParallel and torch.compile, which only prefix its names."""
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        inner = module.module if isinstance(module, parallel) else getattr(module, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def named_modules(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module once, with its path below the unwrapped model."""
    for path, child in unwrap(module).named_modules():
        yield ".".join(part for part in path.split(".") if part != "_orig_mod"), child


def module_layers(module: nn.Module) -> tuple[NormLayer, ...]:
    """The normalization modules in module order: those of torch, subclasses, and look-alikes of any library."""
    found = ((path, child, norm_kind(child)) for path, child in named_modules(module))
    return tuple(_layer(path or class_name(child), child, kind) for path, child, kind in found if kind)


def norm_kind(module: nn.Module) -> NormKind | None:
    """The kind of a normalization module, or None. Look-alikes are known by running statistics or by class name."""
    for kind_type, kind in _TYPES:
        if isinstance(module, kind_type):
            return kind
    name = class_name(module)
    scripted = {kind_type.__name__: kind for kind_type, kind in _TYPES[2:]}.get(name)
    if scripted is not None:
        return scripted
    mean, var = tensor(module, "running_mean"), tensor(module, "running_var")
    if mean is not None and var is not None and mean.dim() == 1 and mean.shape == var.shape:
        return "instance_norm" if "InstanceNorm" in name else "batch_norm"
    return _kind_by_name(name, module)


def require_initialised(module: nn.Module) -> None:
    """Raise InputError for a model with lazy modules that have seen no data: they have no parameters to speak of."""
    if any(is_lazy(value) for value in (*module.parameters(), *module.buffers())):
        raise InputError("the model has lazy modules that are not initialised: run it once on a batch first")


def class_name(module: nn.Module) -> str:
    """The module's class; for TorchScript that of the module it was made from."""
    return str(getattr(module, "original_name", type(module).__name__))


def tensor(module: nn.Module, name: str) -> Tensor | None:
    """An attribute that is an initialised tensor, read as the forward in eval mode reads it, parametrized or not."""
    if getattr(module, "parametrizations", None) is None:
        value = getattr(module, name, None)
    else:
        with _in_eval_mode(module, name), torch.no_grad():
            value = getattr(module, name, None)
    return value.detach() if isinstance(value, Tensor) and not is_lazy(value) else None


@contextmanager
def _in_eval_mode(module: nn.Module, name: str) -> Iterator[None]:
    """Inside, what computes an attribute that is parametrized: spectral_norm changes its buffers in training mode."""
    parametrizations = getattr(module, "parametrizations", None)
    steps = parametrizations[name] if isinstance(parametrizations, nn.ModuleDict) and name in parametrizations else None
    flags = [(each, each.training) for each in steps.modules()] if isinstance(steps, nn.Module) else []
    try:
        for each, _ in flags:
            each.training = False
        yield
    finally:
        for each, flag in flags:
            each.training = flag


def eps_of(module: nn.Module) -> float | None:
    """eps under any of its usual names; None where the module does not say it."""
    numbers = (_number(module, name) for name in _EPS_NAMES)
    return next((number for number in numbers if number is not None), None)


def _kind_by_name(name: str, module: nn.Module) -> NormKind | None:
    if name.startswith(("BatchNorm", "SyncBatchNorm")) and name[-2:] in ("1d", "2d", "3d", "rm"):
        return "batch_norm"  # scripted, without running statistics
    if name.startswith("InstanceNorm"):
        return "instance_norm"
    if "RMSNorm" not in name and "LayerNorm" not in name:
        return None
    weight = tensor(module, "weight")
    if weight is None or weight.dim() != 1 or eps_of(module) is None:
        return None
    if "RMSNorm" in name:
        return "rms_norm"
    # T5LayerNorm subtracts no mean and has no bias: an RMSNorm in all but name
    return "layer_norm" if hasattr(module, "bias") or not hasattr(module, "variance_epsilon") else "rms_norm"


def _layer(path: str, module: nn.Module, kind: NormKind) -> NormLayer:
    gamma, beta = _array(module, "weight"), _array(module, "bias")
    tracked = _array(module, "num_batches_tracked")
    eps = FROZEN_EPS if is_frozen(module) and eps_of(module) is None else eps_of(module)
    if eps is None and isinstance(module, nn.RMSNorm) and gamma is not None:
        weight = tensor(module, "weight")
        eps = None if weight is None else float(torch.finfo(weight.dtype).eps)  # torch.rms_norm's for eps=None
    return NormLayer(
        name=path,
        kind=kind,
        origin="module",
        channels=_channels(module, gamma),
        eps=eps,
        momentum=_number(module, "momentum"),
        gamma=gamma,
        beta=beta,
        running_mean=_array(module, "running_mean"),
        running_var=_array(module, "running_var"),
        num_batches_tracked=int(tracked) if tracked is not None and tracked.size == 1 else None,
        training=bool(module.training),
        groups=getattr(module, "num_groups", None) if kind == "group_norm" else None,
        normalized_rank=_normalized_rank(module, gamma) if kind in ("layer_norm", "rms_norm") else None,
        class_name=class_name(module),
        notes=_notes(module),
    )


def _channels(module: nn.Module, gamma: Array | None) -> int | None:
    shape = getattr(module, "normalized_shape", None)
    if shape is not None:
        return int(math.prod(shape))
    declared = _number(module, "num_features") or _number(module, "num_channels")
    if declared:
        return int(declared)
    known = gamma if gamma is not None else tensor(module, "running_mean")
    return math.prod(known.shape) if known is not None else None


def _normalized_rank(module: nn.Module, gamma: Array | None) -> int | None:
    shape = getattr(module, "normalized_shape", None)
    if shape is not None:
        return len(shape)
    return gamma.ndim if gamma is not None else None


def _notes(module: nn.Module) -> tuple[str, ...]:
    if any(is_lazy(value) for value in (*module.parameters(recurse=False), *module.buffers(recurse=False))):
        return ("not initialised yet: a lazy module learns its number of channels on its first batch",)
    return (FROZEN,) if is_frozen(module) else ()


def is_frozen(module: nn.Module) -> bool:
    """Whether it is a BatchNorm whose gamma and beta are buffers, too, as in torchvision, detectron2 and DETR."""
    return {"weight", "bias", "running_mean", "running_var"}.issubset(module._buffers.keys())


def _array(module: nn.Module, name: str) -> Array | None:
    value = tensor(module, name)
    return None if value is None or value.is_meta else to_numpy(value)


def _number(module: nn.Module, name: str) -> float | None:
    value = getattr(module, name, None)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
