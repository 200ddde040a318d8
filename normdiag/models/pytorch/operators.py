"""The operators that a torch.export program may be rebuilt from: arithmetic on tensors and on sizes, nothing else.

None of them reads or writes a file, takes an address or calls back. Of `aten` these are the core operators, what the
exports of torchvision and timm use, and their neighbours.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch

from normdiag.models.pytorch.installed import RefusedError
from normdiag.models.static.inert import shown

# Integers beyond this are no sizes, and squaring them on and on would never end.
_MAX_SIZE = 1 << 63

_LINEAR = """
addbmm addmm addmv baddbmm bilinear bmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
convolution _convolution dot einsum embedding embedding_bag inner linear matmul mm mv outer
scaled_dot_product_attention _scaled_dot_product_flash_attention_for_cpu lstm gru rnn_tanh rnn_relu
"""
_NORMS = """
batch_norm native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_functional
_native_batch_norm_legit_no_training layer_norm native_layer_norm group_norm native_group_norm instance_norm rms_norm
_fused_rms_norm local_response_norm linalg_norm linalg_vector_norm norm dropout dropout_ native_dropout alpha_dropout
feature_dropout feature_alpha_dropout
"""
_ACTIVATIONS = """
celu celu_ elu elu_ gelu glu hardshrink hardsigmoid hardsigmoid_ hardswish hardswish_ hardtanh hardtanh_ leaky_relu
leaky_relu_ log_sigmoid log_softmax _log_softmax mish mish_ prelu _prelu_kernel relu relu6 relu6_ relu_ rrelu selu
selu_ sigmoid sigmoid_ silu silu_ softmax _softmax softplus softshrink tanh tanh_ threshold threshold_
"""
_POOLS = """
_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d avg_pool1d avg_pool2d avg_pool3d max_pool1d
max_pool1d_with_indices max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices affine_grid_generator
col2im grid_sampler grid_sampler_2d im2col pixel_shuffle pixel_unshuffle channel_shuffle upsample_bicubic2d
upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d
upsample_nearest_exact1d upsample_nearest_exact2d upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
"""
_POINTWISE = """
abs abs_ acos acosh add add_ addcdiv addcmul and_ __and__ __or__ __xor__ asin asinh atan atan2 atanh bitwise_and
bitwise_not bitwise_or bitwise_xor ceil clamp clamp_ clamp_max clamp_max_ clamp_min clamp_min_ clip copysign cos cosh
deg2rad div div_ eq erf erfc exp exp_ exp2 expm1 floor floor_ floor_divide fmax fmin fmod frac ge greater
greater_equal gt hypot isfinite isinf isnan le lerp less less_equal log log10 log1p log2 logaddexp logical_and
logical_not logical_or logical_xor logit lt maximum minimum mul mul_ nan_to_num ne neg neg_ negative not_equal
positive pow pow_ reciprocal reciprocal_ remainder round rsqrt rsqrt_ rsub sign sin sinc sinh sqrt sqrt_ square
square_ sub sub_ tan true_divide trunc where xlogy
"""
_REDUCTIONS = """
all amax amin aminmax any argmax argmin argsort cdist _cdist_forward count_nonzero cosine_similarity cross cummax
cummin cumprod cumsum linalg_cross logcumsumexp logsumexp max mean median min nansum pairwise_distance prod sort std
std_mean sum topk var var_mean _euclidean_dist
"""
_SHAPES = """
alias as_strided atleast_1d atleast_2d atleast_3d broadcast_to cat chunk clone concat constant_pad_nd contiguous copy
copy_ detach detach_ diag diag_embed diagonal expand expand_as fill fill_ flatten flip gather hstack index index_add
index_copy index_put index_put_ index_select lift_fresh lift_fresh_copy masked_fill masked_fill_ masked_scatter
meshgrid moveaxis movedim narrow numpy_T mT T pad permute ravel reflection_pad1d reflection_pad2d reflection_pad3d
repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d reshape reshape_as roll rot90 scatter
scatter_ scatter_add scatter_reduce select select_scatter slice slice_scatter split split_with_sizes squeeze squeeze_
stack swapaxes swapdims t take take_along_dim tensor_split tile to _to_copy type_as transpose tril triu unbind
unflatten unfold unsafe_chunk unsafe_split unsqueeze unsqueeze_ view view_as vstack zero zero_ squeeze_copy view_copy
_unsafe_view one_hot
"""
_MADE = """
arange empty empty_like full full_like linspace new_empty new_full new_ones new_zeros ones ones_like scalar_tensor
zeros zeros_like tril_indices triu_indices eye
"""
_SIZES = """
sym_size sym_numel sym_stride sym_storage_offset sym_constrain_range sym_constrain_range_for_size
_assert_tensor_metadata _assert_scalar
"""
_ATEN = frozenset(
    " ".join((_LINEAR, _NORMS, _ACTIVATIONS, _POOLS, _POINTWISE, _REDUCTIONS, _SHAPES, _MADE, _SIZES)).split()
)


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Arithmetic on sizes whose result is one, so that it takes no time."""

    def compute(*args: Any) -> Any:
        result = function(*args)
        if isinstance(result, int) and abs(result) >= _MAX_SIZE:
            raise RefusedError("the program computes a size that no tensor can have")
        return result

    compute.__name__ = function.__name__
    return compute


_SIZE_ARITHMETIC: dict[str, Callable[..., Any]] = {
    **{f"_operator.{name}": _bounded(getattr(operator, name)) for name in ("add", "sub", "mul")},
    **{
        f"_operator.{name}": getattr(operator, name)
        for name in ("floordiv", "truediv", "mod", "neg", "getitem", "ge", "gt", "le", "lt", "eq", "ne", "and_", "or_")
    },
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc", "sqrt")},
    **{
        f"torch.{name}": getattr(torch, name)
        for name in ("sym_max", "sym_min", "sym_int", "sym_float", "sym_not", "sym_ite", "sym_sum")
        if hasattr(torch, name)  # sym_sum from torch 2.6 on
    },
}


def operator_named(target: str) -> Callable[..., Any]:
    """The operator of that name in a torch.export program. Raises RefusedError for one that is not on the list."""
    if target in _SIZE_ARITHMETIC:
        return _SIZE_ARITHMETIC[target]
    parts = target.split(".")
    if parts[:3] != ["torch", "ops", "aten"] or len(parts) != 5 or parts[3] not in _ATEN:
        raise RefusedError(f"the program calls {shown(target, 120)}, which is not among the operators that are run")
    packet = getattr(torch.ops.aten, parts[3], None)
    if packet is None or parts[4] not in packet.overloads():
        raise RefusedError(f"the program calls {shown(target, 120)}, which the torch that is installed does not have")
    found: Callable[..., Any] = getattr(packet, parts[4])
    return found
