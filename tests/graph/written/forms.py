"""Normalization as people and libraries write it out: what each form computes, said a second time in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Array = NDArray[Any]
CHANNELS = 8
# One input for all forms: (N, C, H, W), or read as rows (N, H W, C), or as waves (N, C, H W).
SHAPE = (3, CHANNELS, 5, 6)


class Written(nn.Module):
    """One form, with a gamma and a beta that are not trivial."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        values = torch.Generator().manual_seed(sum(form.name.encode()))
        self.form = form
        self.g = nn.Parameter(torch.rand(CHANNELS, generator=values) + 0.5)
        self.b = nn.Parameter(torch.rand(CHANNELS, generator=values) - 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """The form itself."""
        return self.form.forward(self, x)


@dataclass(frozen=True, eq=False)
class Form:
    """`forward` normalizes over `axes` (after `groups` are taken apart), as `kind`; `ddof` 1 where it divides by n - 1.

    `layout` is image, rows or wave. `outside`: eps is added to the root. `least`: eps is a lower bound. `affine` names
    the parameters that belong to it.
    """

    forward: Callable[[Written, Tensor], Tensor]
    kind: str
    layout: str
    axes: tuple[int, ...]
    eps: float
    affine: str = "gb"
    ddof: int = 0
    groups: int | None = None
    outside: bool = False
    least: bool = False

    @property
    def name(self) -> str:
        """Its name in tables."""
        return self.forward.__name__

    def variance(self, x: Array) -> Array:
        """The variance or mean square that it divides by, in float64; eps is not in it."""
        x, axes = self._grouped(np.asarray(x, np.float64))
        centred = x if self.kind == "rms_norm" else x - x.mean(axes, keepdims=True)
        count = np.prod([x.shape[axis] for axis in axes]) - self.ddof
        result: Array = (centred**2).sum(axes, keepdims=True) / count
        return result

    def expected(self, x: Array, gamma: Array | None, beta: Array | None) -> Array:
        """What it computes, in float64."""
        variance, (grouped, axes) = self.variance(x), self._grouped(np.asarray(x, np.float64))
        centred = grouped if self.kind == "rms_norm" else grouped - grouped.mean(axes, keepdims=True)
        root = np.sqrt(variance) if self.outside else np.sqrt(variance + (0.0 if self.least else self.eps))
        floor = np.sqrt(np.maximum(variance, self.eps))
        y = (centred / (floor if self.least else root + (self.eps if self.outside else 0.0))).reshape(x.shape)
        channel = -1 if self.layout == "rows" else 1
        shape = tuple(CHANNELS if axis == channel % x.ndim else 1 for axis in range(x.ndim))
        y = y if gamma is None else y * np.asarray(gamma, np.float64).reshape(shape)
        return y if beta is None else y + np.asarray(beta, np.float64).reshape(shape)

    def _grouped(self, x: Array) -> tuple[Array, tuple[int, ...]]:
        if self.groups in (None, 1):
            return x, self.axes
        return x.reshape(len(x), self.groups, -1), (2,)


class All(nn.Module):
    """Every form on values of the same input, which no reshape of the input leads to."""

    def __init__(self, forms: tuple[Form, ...]) -> None:
        super().__init__()
        self.forms = nn.ModuleDict({form.name: Written(form) for form in forms})

    def forward(self, x: Tensor) -> Tensor:
        """All of their outputs, for each sample."""
        layouts = {"image": x, "rows": x.flatten(2).transpose(1, 2), "wave": x.flatten(2)}
        inputs = {name: torch.sin(value) for name, value in layouts.items()}
        return torch.cat([each(inputs[each.form.layout]).flatten(1) for each in self.forms.values()], 1)


def inputs_of(form: Form, x: Array) -> Array:
    """What a form in All normalizes, in float64."""
    flat = x.reshape(*x.shape[:2], -1).astype(np.float64)
    return np.sin({"image": x, "rows": np.moveaxis(flat, 1, 2), "wave": flat}[form.layout])


def _image(parameter: Tensor) -> Tensor:
    return parameter[:, None, None]


def view_before_the_mean(s: Written, x: Tensor) -> Tensor:
    t = x.view(x.size(0), x.size(1), -1)
    mean = t.mean(2).unsqueeze(2).unsqueeze(3)
    var = t.var(2, unbiased=False).unsqueeze(2).unsqueeze(3)
    return (x - mean) / torch.sqrt(var + 1e-5) * _image(s.g) + _image(s.b)


def fast_neural_style(s: Written, x: Tensor) -> Tensor:
    """pytorch/examples before there was InstanceNorm2d: the unbiased variance, made biased again."""
    n = x.size(2) * x.size(3)
    t = x.view(x.size(0), x.size(1), n)
    mean = torch.mean(t, 2).unsqueeze(2).unsqueeze(3).expand_as(x)
    var = torch.var(t, 2).unsqueeze(2).unsqueeze(3).expand_as(x) * ((n - 1) / float(n))
    scale = s.g.unsqueeze(1).unsqueeze(1).unsqueeze(0)
    shift = s.b.unsqueeze(1).unsqueeze(1).unsqueeze(0)
    return (x - mean) / torch.sqrt(var + 1e-5) * scale + shift


def view_there_and_back(s: Written, x: Tensor) -> Tensor:
    t = x.reshape(x.size(0), x.size(1), -1)
    d = t - t.mean(-1, keepdim=True)
    return (d * torch.rsqrt((d * d).mean(-1, keepdim=True) + 1e-5)).reshape(x.shape) * _image(s.g) + _image(s.b)


def adain(s: Written, x: Tensor) -> Tensor:
    """Huang and Belongie's: the mean and spread of another image take the place of gamma and beta."""
    n, c = x.shape[:2]

    def moments(t: Tensor) -> tuple[Tensor, Tensor]:
        std = (t.view(n, c, -1).var(dim=2) + 1e-5).sqrt().view(n, c, 1, 1)
        return t.view(n, c, -1).mean(dim=2).view(n, c, 1, 1), std

    (mean, std), (style_mean, style_std) = moments(x), moments(torch.sigmoid(x))
    return (x - mean.expand(x.shape)) / std.expand(x.shape) * style_std.expand(x.shape) + style_mean.expand(x.shape)


def adain_of_a_code(s: Written, x: Tensor) -> Tensor:
    """StyleGAN's."""
    code = torch.sigmoid(x).mean((2, 3))[:, :, None, None]
    mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, unbiased=False)
    return (1 + code) * ((x - mean) * torch.rsqrt(var + 1e-5)) + code


def keras_3(s: Written, x: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    inv = torch.rsqrt((x * x).mean(-1, keepdim=True) - mean * mean + 1e-3) * s.g
    return x * inv + (-mean * inv + s.b)


def keras_2(s: Written, x: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    inv = torch.rsqrt((x - mean).pow(2).mean(-1, keepdim=True) + 1e-3) * s.g
    return x * inv + (s.b - mean * inv)


def gln(s: Written, x: Tensor) -> Tensor:
    """Conv-TasNet's global layer norm, a mean over channels and then over time."""
    mean = x.mean(1, keepdim=True).mean(2, keepdim=True)
    var = ((x - mean) ** 2).mean(1, keepdim=True).mean(2, keepdim=True)
    return s.g[:, None] * (x - mean) / (var + 1e-5).pow(0.5) + s.b[:, None]


def gln_at_once(s: Written, x: Tensor) -> Tensor:
    mean = x.mean((1, 2), keepdim=True)
    var = torch.pow(x - mean, 2).mean((1, 2), keepdim=True)
    return s.g[:, None] * (x - mean) / torch.pow(var + 1e-5, 0.5) + s.b[:, None]


def annotated_transformer(s: Written, x: Tensor) -> Tensor:
    """The eps added to an unbiased standard deviation."""
    return s.g * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-3) + s.b


def eps_on_the_std(s: Written, x: Tensor) -> Tensor:
    std = x.var(-1, keepdim=True, unbiased=False).sqrt()
    return (x - x.mean(-1, keepdim=True)) / (std + 1e-3) * s.g + s.b


def std_and_mean(s: Written, x: Tensor) -> Tensor:
    std, mean = torch.std_mean(x, -1, keepdim=True, correction=0)
    return (x - mean) / (std + 1e-3) * s.g + s.b


def unbiased(s: Written, x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + 1e-5) * s.g + s.b


def clamped_to_zero(s: Written, x: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    var = torch.clamp((x**2).mean(-1, keepdim=True) - mean**2, min=0)
    return (x - mean) * torch.rsqrt(var + 1e-5) * s.g + s.b


def rectified(s: Written, x: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    var = torch.relu(x.square().mean(-1, keepdim=True) - mean.square())
    return (x - mean) / torch.sqrt(var + 1e-5) * s.g + s.b


def clamped_to_eps(s: Written, x: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    return (x - mean) * (x - mean).pow(2).mean(-1, keepdim=True).clamp(min=1e-3).rsqrt() * s.g + s.b


def layer_norm_2d(s: Written, x: Tensor) -> Tensor:
    """ConvNeXt's."""
    u = x.mean(1, keepdim=True)
    return _image(s.g) * ((x - u) / torch.sqrt((x - u).pow(2).mean(1, keepdim=True) + 1e-5)) + _image(s.b)


def llama(s: Written, x: Tensor) -> Tensor:
    wide = x.to(torch.float32)
    return s.g * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).to(x.dtype)


def gamma_times_x_first(s: Written, x: Tensor) -> Tensor:
    return (s.g * x) * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)


def gamma_times_the_root_first(s: Written, x: Tensor) -> Tensor:
    return x * (s.g * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


def unit_length_times_root(s: Written, x: Tensor) -> Tensor:
    """F.normalize(x) * sqrt(d) * g."""
    return functional.normalize(x, dim=-1) * CHANNELS**0.5 * s.g


def unit_length_gamma_first(s: Written, x: Tensor) -> Tensor:
    return functional.normalize(x, dim=-1) * s.g * CHANNELS**0.5


def unit_length_of_channels(s: Written, x: Tensor) -> Tensor:
    return functional.normalize(x, dim=1) * _image(s.g) * CHANNELS**0.5


def length_over_root(s: Written, x: Tensor) -> Tensor:
    """The RMS as x.norm() / sqrt(d)."""
    return s.g * (x / (x.norm(2, dim=-1, keepdim=True) * CHANNELS**-0.5 + 1e-3))


def length_with_a_floor(s: Written, x: Tensor) -> Tensor:
    return x / (torch.norm(x, dim=-1, keepdim=True) * CHANNELS**-0.5).clamp(min=1e-2) * s.g


def sum_of_squares(s: Written, x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + CHANNELS * 1e-5) * CHANNELS**0.5 * s.g


def no_eps_at_all(s: Written, x: Tensor) -> Tensor:
    return x / x.pow(2).mean(-1, keepdim=True).sqrt() * s.g


def groups(s: Written, x: Tensor) -> Tensor:
    t = x.view(x.size(0), 2, -1)
    t = (t - t.mean(-1, keepdim=True)) / (t.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    return t.view(x.shape) * _image(s.g) + _image(s.b)


def groups_unbiased(s: Written, x: Tensor) -> Tensor:
    t = x.view(x.size(0), 2, -1)
    t = (t - t.mean(-1, keepdim=True)) / (t.var(-1, keepdim=True) + 1e-5).sqrt()
    return t.view(x.shape) * _image(s.g) + _image(s.b)


def groups_taken_apart(s: Written, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    t = x.view(n, 4, c // 4, h, w)
    t = (t - t.mean((2, 3, 4), keepdim=True)) / (t.var((2, 3, 4), keepdim=True, unbiased=False) + 1e-5).sqrt()
    return t.view(n, c, h, w) * _image(s.g) + _image(s.b)


POSITIONS, LAST, FIRST = (2, 3), (2,), (1,)
FORMS = (
    Form(view_before_the_mean, "instance_norm", "image", POSITIONS, 1e-5),
    Form(fast_neural_style, "instance_norm", "image", POSITIONS, 1e-5),
    Form(view_there_and_back, "instance_norm", "image", POSITIONS, 1e-5),
    Form(adain, "instance_norm", "image", POSITIONS, 1e-5, "", ddof=1),
    Form(adain_of_a_code, "instance_norm", "image", POSITIONS, 1e-5, ""),
    Form(keras_3, "layer_norm", "rows", LAST, 1e-3),
    Form(keras_2, "layer_norm", "rows", LAST, 1e-3),
    Form(gln, "group_norm", "wave", (1, 2), 1e-5, groups=1),
    Form(gln_at_once, "group_norm", "wave", (1, 2), 1e-5, groups=1),
    Form(annotated_transformer, "layer_norm", "rows", LAST, 1e-3, ddof=1, outside=True),
    Form(eps_on_the_std, "layer_norm", "rows", LAST, 1e-3, outside=True),
    Form(std_and_mean, "layer_norm", "rows", LAST, 1e-3, outside=True),
    Form(unbiased, "layer_norm", "rows", LAST, 1e-5, ddof=1),
    Form(clamped_to_zero, "layer_norm", "rows", LAST, 1e-5),
    Form(rectified, "layer_norm", "rows", LAST, 1e-5),
    Form(clamped_to_eps, "layer_norm", "rows", LAST, 1e-3, least=True),
    Form(layer_norm_2d, "layer_norm", "image", FIRST, 1e-5),
    Form(llama, "rms_norm", "rows", LAST, 1e-5, "g"),
    Form(gamma_times_x_first, "rms_norm", "rows", LAST, 1e-5, "g"),
    Form(gamma_times_the_root_first, "rms_norm", "rows", LAST, 1e-5, "g"),
    Form(unit_length_times_root, "rms_norm", "rows", LAST, 1.25e-25, "g"),
    Form(unit_length_gamma_first, "rms_norm", "rows", LAST, 1.25e-25, "g"),
    Form(unit_length_of_channels, "rms_norm", "image", FIRST, 1.25e-25, "g"),
    Form(length_over_root, "rms_norm", "rows", LAST, 1e-3, "g", outside=True),
    Form(length_with_a_floor, "rms_norm", "rows", LAST, 1e-4, "g", least=True),
    Form(sum_of_squares, "rms_norm", "rows", LAST, 1e-5, "g"),
    Form(no_eps_at_all, "rms_norm", "rows", LAST, 0.0, "g"),
    Form(groups, "group_norm", "image", (), 1e-5, groups=2),
    Form(groups_unbiased, "group_norm", "image", (), 1e-5, ddof=1, groups=2),
    Form(groups_taken_apart, "group_norm", "image", (), 1e-5, groups=4),
)
