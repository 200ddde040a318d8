"""What looks like a normalization layer and is none: no backend may claim one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tests.graph.written.forms import CHANNELS, Form, Written


def unit_length(s: Written, x: Tensor) -> Tensor:
    return functional.normalize(x, dim=-1)


def unit_length_with_gamma(s: Written, x: Tensor) -> Tensor:
    """SSD's L2Norm: without the root of the number of features it is no RMSNorm."""
    return functional.normalize(x, dim=-1) * s.g


def unit_length_times_another_root(s: Written, x: Tensor) -> Tensor:
    return functional.normalize(x, dim=-1) * (CHANNELS + 1) ** 0.5 * s.g


def global_response_norm(s: Written, x: Tensor) -> Tensor:
    """ConvNeXt V2's: divided by the mean of the lengths of the channels."""
    length = torch.norm(x, p=2, dim=(2, 3), keepdim=True)
    return s.g[:, None, None] * (x * (length / (length.mean(1, keepdim=True) + 1e-6))) + s.b[:, None, None] + x


def mean_magnitude(s: Written, x: Tensor) -> Tensor:
    return x / (x.abs().mean(-1, keepdim=True) + 1e-5) * s.g


def no_eps_and_no_gamma(s: Written, x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / x.var(-1, keepdim=True, unbiased=False).sqrt()


def centred_alone(s: Written, x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) * s.g + s.b


def over_the_variance(s: Written, x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5) * s.g


def variance_over_other_axes(s: Written, x: Tensor) -> Tensor:
    return (x - x.mean(1, keepdim=True)) * torch.rsqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5) * s.g


def spread_of_another_tensor(s: Written, x: Tensor) -> Tensor:
    other = torch.exp(x)
    return (x - x.mean(-1, keepdim=True)) * torch.rsqrt(other.var(-1, keepdim=True, unbiased=False) + 1e-5) * s.g


def another_tensor_over_its_spread(s: Written, x: Tensor) -> Tensor:
    return torch.exp(x) * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * s.g


def shifted_before_it_is_divided(s: Written, x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True) + 0.5) * torch.rsqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5) * s.g


def twice_the_mean(s: Written, x: Tensor) -> Tensor:
    return (x - 2 * x.mean(-1, keepdim=True)) * torch.rsqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5) * s.g


def divided_by_another_number(s: Written, x: Tensor) -> Tensor:
    square = (x - x.mean(-1, keepdim=True)).pow(2).sum(-1, keepdim=True)
    return (x - x.mean(-1, keepdim=True)) * torch.rsqrt(square / (CHANNELS - 2) + 1e-5) * s.g


def mean_of_the_rows_below(s: Written, x: Tensor) -> Tensor:
    """A mean that broadcasts along another axis than the one it was taken over."""
    square = x[:, :CHANNELS]
    mean = square.mean(-1)[:, None]
    var = square.var(-1, unbiased=False)[:, None]
    return (square - mean) * torch.rsqrt(var + 1e-5) * s.g


def between_smallest_and_largest(s: Written, x: Tensor) -> Tensor:
    low = x.amin(-1, keepdim=True)
    return (x - low) / (x.amax(-1, keepdim=True) - low + 1e-5) * s.g


def contrast_with_a_large_floor(s: Written, x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 10.0) * s.g


def statistics_pooling(s: Written, x: Tensor) -> Tensor:
    return torch.cat([x.mean(1), x.std(1), (x.var(1, unbiased=False) + 1e-5).sqrt()], -1)


def softmax_by_hand(s: Written, x: Tensor) -> Tensor:
    e = torch.exp(x - x.amax(-1, keepdim=True))
    return e / e.sum(-1, keepdim=True) * s.g


def squeeze_and_excite(s: Written, x: Tensor) -> Tensor:
    return x * torch.sigmoid(x.mean((2, 3), keepdim=True) * s.g[:, None, None] + s.b[:, None, None])


def groups_of_another_mean(s: Written, x: Tensor) -> Tensor:
    """Means of groups, and the spread of all."""
    t = x.view(x.size(0), 2, -1)
    t = t - t.mean(-1, keepdim=True)
    return (t / (t.var((1, 2), keepdim=True, unbiased=False) + 1e-5).sqrt()).view(x.shape) * s.g[:, None, None]


def standardized_by_constants(s: Written, x: Tensor) -> Tensor:
    return (x - s.b) / torch.sqrt(s.g + 1e-5)


_IMAGES = (global_response_norm, squeeze_and_excite, groups_of_another_mean)
_ROWS = (
    unit_length,
    unit_length_with_gamma,
    unit_length_times_another_root,
    mean_magnitude,
    no_eps_and_no_gamma,
    centred_alone,
    over_the_variance,
    variance_over_other_axes,
    spread_of_another_tensor,
    another_tensor_over_its_spread,
    shifted_before_it_is_divided,
    twice_the_mean,
    divided_by_another_number,
    mean_of_the_rows_below,
    between_smallest_and_largest,
    contrast_with_a_large_floor,
    statistics_pooling,
    softmax_by_hand,
    standardized_by_constants,
)
NEAR_MISSES = tuple(
    Form(forward, "", layout, (), 0.0)
    for layout, forwards in (("rows", _ROWS), ("image", _IMAGES))
    for forward in forwards
)
