"""Normalization calls of PyTorch, by whatever function or operator, in one form."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from normdiag.models.pytorch.arrays import to_numpy
from normdiag.models.pytorch.torch_private import operators
from normdiag.observe.protocol import ReplacedStatistics
from normdiag.records import NormKind, NormLayer

Parameter = Tensor | None
ON_BATCH = "normalizes with the statistics of each batch, as its code asks for; the stored ones are not used"


@dataclass(frozen=True, eq=False)
class NormCall:
    """One call: its input, (N, C, ...) or (..., normalized shape), and its parameters.

    `batch_statistics`: it normalizes with the statistics of its own input (BatchNorm in training, InstanceNorm without
    running statistics). `groups` is GroupNorm's, `normalized_shape` that of LayerNorm and RMSNorm.
    """

    kind: NormKind
    input: Tensor
    weight: Parameter
    bias: Parameter
    eps: float
    running_mean: Parameter = None
    running_var: Parameter = None
    batch_statistics: bool = False
    momentum: float | None = None
    groups: int | None = None
    normalized_shape: tuple[int, ...] | None = None

    @property
    def has_statistics(self) -> bool:
        """Whether running statistics were handed over."""
        return self.running_mean is not None and self.running_var is not None

    @property
    def updates(self) -> bool:
        """Whether it would write to the running statistics."""
        return self.batch_statistics and self.has_statistics

    @property
    def well_formed(self) -> bool:
        """Whether there is anything to sum, of a shape that fits the parameters; if not, torch itself says why."""
        shape, mean = self.input.shape, self.running_mean
        if not self.input.is_floating_point() or len(shape) < 2 or not self.input.numel():
            return False
        if self.normalized_shape is not None:
            return tuple(shape[-len(self.normalized_shape) :]) == self.normalized_shape
        return (mean is None or tuple(mean.shape) == (shape[1],)) and shape[1] % (self.groups or 1) == 0

    def with_statistics(self, statistics: ReplacedStatistics) -> Tensor:
        """A BatchNorm's output with these statistics in place of its own."""
        dtype = torch.float64 if self.input.dtype == torch.float64 else torch.float32
        mean, var, weight, bias = (
            None if value is None else torch.as_tensor(value).to(self.input.device, dtype)
            for value in (statistics.mean, statistics.var, self.weight, self.bias)
        )
        return F.batch_norm(self.input, mean, var, weight, bias, False, 0.0, self.eps)

    def without_update(self) -> Tensor:
        """The output as called, but leaving the running statistics as they are."""
        function = F.batch_norm if self.kind == "batch_norm" else F.instance_norm
        return function(self.input, None, None, self.weight, self.bias, True, 0.0, self.eps)

    def layer(self, name: str) -> NormLayer:
        """What the call says of its layer."""
        shape = self.normalized_shape
        return NormLayer(
            name=name,
            kind=self.kind,
            origin="function",
            channels=math.prod(shape) if shape is not None else int(self.input.shape[1]),
            eps=self.eps,
            momentum=self.momentum,
            gamma=_array(self.weight),
            beta=_array(self.bias),
            running_mean=_array(self.running_mean),
            running_var=_array(self.running_var),
            groups=self.groups,
            notes=(ON_BATCH,) if self.batch_statistics and self.running_var is not None else (),
            normalized_rank=None if shape is None else len(shape),
            batch_statistics=self._on_batch,
        )

    @property
    def _on_batch(self) -> bool | None:
        """For NormLayer.batch_statistics. A batch of one may be a tensor of its own, such as weights to standardize."""
        if self.kind != "batch_norm" or (self.batch_statistics and len(self.input) < 2):
            return None
        return self.batch_statistics


def _array(value: Parameter) -> Any:
    return None if value is None or value.is_meta else to_numpy(value)


# The functions below have the signatures of what they stand for, so that Python itself sorts the arguments; what does
# not matter here, such as whether to use cudnn, goes into `_`.


def _functional_batch_norm(
    input: Tensor,
    running_mean: Parameter,
    running_var: Parameter,
    weight: Parameter = None,
    bias: Parameter = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> NormCall:
    own = training or running_mean is None or running_var is None
    return NormCall("batch_norm", input, weight, bias, eps, running_mean, running_var, own, momentum)


def _batch_norm(
    input: Tensor,
    weight: Parameter,
    bias: Parameter,
    running_mean: Parameter,
    running_var: Parameter,
    training: bool,
    momentum: float,
    eps: float,
    *_: Any,
    **__: Any,
) -> NormCall:
    return _functional_batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def _batch_norm_no_training(
    input: Tensor,
    weight: Parameter,
    bias: Parameter,
    running_mean: Parameter,
    running_var: Parameter,
    momentum: float,
    eps: float,
) -> NormCall:
    return _functional_batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)


def _functional_instance_norm(
    input: Tensor,
    running_mean: Parameter = None,
    running_var: Parameter = None,
    weight: Parameter = None,
    bias: Parameter = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> NormCall:
    return NormCall("instance_norm", input, weight, bias, eps, running_mean, running_var, use_input_stats, momentum)


def _instance_norm(
    input: Tensor,
    weight: Parameter,
    bias: Parameter,
    running_mean: Parameter,
    running_var: Parameter,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    *_: Any,
    **__: Any,
) -> NormCall:
    return _functional_instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def _layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Parameter = None,
    bias: Parameter = None,
    eps: float = 1e-5,
    *_: Any,
    **__: Any,
) -> NormCall:
    return NormCall("layer_norm", input, weight, bias, eps, normalized_shape=tuple(normalized_shape))


def _rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Parameter = None, eps: float | None = None
) -> NormCall:
    known = torch.finfo(input.dtype).eps if eps is None else eps
    return NormCall("rms_norm", input, weight, None, known, normalized_shape=tuple(normalized_shape))


def _group_norm(
    input: Tensor,
    num_groups: int,
    weight: Parameter = None,
    bias: Parameter = None,
    eps: float = 1e-5,
    *_: Any,
    **__: Any,
) -> NormCall:
    return NormCall("group_norm", input, weight, bias, eps, groups=num_groups)


def _native_group_norm(input: Tensor, weight: Parameter, bias: Parameter, *rest: Any) -> NormCall:
    *_, groups, eps = rest
    return NormCall("group_norm", input, weight, bias, eps, groups=groups)


Parser = Callable[..., NormCall]
aten = torch.ops.aten

NORM_FUNCTIONS: Mapping[Any, Parser] = {
    F.batch_norm: _functional_batch_norm,
    torch.batch_norm: _batch_norm,
    aten.batch_norm: _batch_norm,
    F.instance_norm: _functional_instance_norm,
    torch.instance_norm: _instance_norm,
    aten.instance_norm: _instance_norm,
    F.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    aten.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    torch.rms_norm: _rms_norm,
    aten.rms_norm: _rms_norm,
    F.group_norm: _group_norm,
    torch.group_norm: _group_norm,
    aten.group_norm: _group_norm,
}
# What reaches the dispatcher, where TorchScript's calls are seen: each returns a tuple that begins with the output.
NATIVE_NORMS: Mapping[Any, Parser] = {
    aten.native_batch_norm: _batch_norm,
    aten.cudnn_batch_norm: _batch_norm,
    aten._native_batch_norm_legit: _batch_norm,
    aten._native_batch_norm_legit_no_training: _batch_norm_no_training,
    aten.native_layer_norm: _layer_norm,
    aten.native_group_norm: _native_group_norm,
    **dict.fromkeys(operators("_fused_rms_norm"), _rms_norm),
}
