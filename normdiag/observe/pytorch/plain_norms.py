"""LayerNorm, RMSNorm, GroupNorm and InstanceNorm by their formulas, one step after the other."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from normdiag.observe.pytorch.norms import NormCall


def in_float32(call: NormCall) -> Tensor | None:
    """The output of a functional call between two casts; None for a BatchNorm, whose kernel computes so anyway."""
    if call.has_statistics or call.kind == "batch_norm":
        return None
    wide = replace(call, input=call.input.float(), weight=_float(call.weight), bias=_float(call.bias))
    made = step_by_step(wide)
    return None if made is None else made.to(call.input.dtype)


def step_by_step(call: NormCall) -> Tensor | None:
    """The output with squares, sums and means stored in the dtype of the input; None for a BatchNorm."""
    if call.has_statistics or call.kind == "batch_norm":
        return None
    x = call.input
    if call.normalized_shape is not None:
        axes = tuple(range(-len(call.normalized_shape), 0))
        return _affine(_normalized(x, axes, call), call.weight, call.bias)
    grouped = x.reshape(len(x), call.groups or x.shape[1], -1)
    shape = (1, -1, *(1 for _ in range(x.dim() - 2)))
    weight, bias = (None if value is None else value.reshape(shape) for value in (call.weight, call.bias))
    return _affine(_normalized(grouped, (-1,), call).reshape(x.shape), weight, bias)


def _normalized(x: Tensor, axes: tuple[int, ...], call: NormCall) -> Tensor:
    count = math.prod(x.shape[axis] for axis in axes)
    if call.kind != "rms_norm":
        x = x - x.sum(axes, keepdim=True) / count
    return x / torch.sqrt((x * x).sum(axes, keepdim=True) / count + call.eps)


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _float(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.float()
