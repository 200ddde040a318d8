"""Normalization modules that compute by themselves: seen by their input and output, in place of a call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from normdiag.models.pytorch.arrays import to_numpy
from normdiag.models.pytorch.layers import FROZEN_EPS, eps_of, is_frozen, tensor
from normdiag.observe.protocol import ReplacedStatistics
from normdiag.observe.pytorch.norms import NormCall
from normdiag.observe.pytorch.plain_norms import in_float32
from normdiag.records import NormKind


def lookalike_call(module: nn.Module, kind: NormKind, x: Tensor) -> NormCall | None:
    """What a norm module of this kind does to x, as the call that it stands for; None where it cannot be told."""
    weight, bias = tensor(module, "weight"), tensor(module, "bias")
    eps = eps_of(module) or (FROZEN_EPS if is_frozen(module) else 0.0)
    if kind in ("batch_norm", "instance_norm"):
        mean, var = tensor(module, "running_mean"), tensor(module, "running_var")
        return NormCall(kind, x, weight, bias, eps, mean, var)
    if kind == "group_norm":
        groups = getattr(module, "num_groups", None)
        return NormCall(kind, x, weight, bias, eps, groups=int(groups)) if groups else None
    if weight is None:
        return None
    shape = tuple(weight.shape)
    first = weight.dim() == 1 and _channels_first(module, x, shape[0])
    return NormCall(kind, x.movedim(1, -1) if first else x, weight, bias, eps, normalized_shape=shape)


def as_computed(call: NormCall, output: Any) -> NormCall | None:
    """The call, where the module's own output shows that it computes what the call stands for; else None.

    Some modules scale by 1 + weight (Gemma): the call that is returned then has that for its weight.
    """
    if _computes(call, output):
        return call
    if call.weight is None or call.has_statistics:
        return None
    offset = replace(call, weight=call.weight + 1.0)
    return offset if _computes(offset, output) else None


def _computes(call: NormCall, output: Any) -> bool:
    plain = in_float32(call)
    if call.running_mean is not None and call.running_var is not None:
        plain = call.with_statistics(ReplacedStatistics(to_numpy(call.running_mean), to_numpy(call.running_var)))
    if plain is None or not isinstance(output, Tensor) or output.shape != plain.shape:
        return False
    return torch.allclose(plain.to(output.dtype), output, rtol=1e-2, atol=1e-3)


def _channels_first(module: nn.Module, x: Tensor, features: int) -> bool:
    """Whether a LayerNorm over one axis takes axis 1: where it says so, or where the last axis does not fit."""
    declared = getattr(module, "data_format", None)
    if declared is not None:
        return bool(declared == "channels_first")
    return x.dim() > 2 and x.shape[-1] != features and x.shape[1] == features
