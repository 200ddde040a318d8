"""Activation calls of PyTorch in one form, and their saturation and derivatives as sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normdiag.observe.activations import SELU_ALPHA, SELU_SCALE, Activation, Tails, tails
from normdiag.observe.pytorch.reductions import Scratch, Tiling, channel_view, computable, computing_dtype, tilings
from normdiag.records import ActivationSums

aten = torch.ops.aten
Parser = Callable[..., Activation | None]


def _bounded(low: float = -1.0, high: float = 1.0, *_: Any, **more: Any) -> Activation:
    low, high = more.get("min_val", low), more.get("max_val", high)
    return Activation("relu6" if (low, high) == (0, 6) else "clip", low=float(low), high=float(high))


def _clamp(low: Any = None, high: Any = None, **more: Any) -> Activation | None:
    """ReLU6 is often written as a clamp; other bounds are rather a guard against overflow than an activation."""
    bounds = more.get("min", low), more.get("max", high)
    return Activation("relu6", low=0.0, high=6.0) if bounds in ((0, 6), (0.0, 6.0)) else None


def _gelu(approximate: str = "none") -> Activation:
    return Activation("gelu_tanh" if approximate == "tanh" else "gelu")


def _elu(alpha: float = 1.0, scale: float = 1.0, *_: Any, **__: Any) -> Activation | None:
    if scale in (False, True, 1):  # F.elu has `inplace` where aten.elu has the scale
        return Activation("elu", alpha=float(alpha))
    return Activation("selu") if math.isclose(scale, SELU_SCALE, rel_tol=1e-6) else None


def _leaky(negative_slope: float = 0.01, *_: Any, **__: Any) -> Activation:
    return Activation("leaky_relu", alpha=float(negative_slope))


def _softplus(beta: float = 1.0, *_: Any, **__: Any) -> Activation:
    return Activation("softplus", alpha=float(beta))


def _plain(kind: str, **parameters: float) -> Parser:
    return lambda *_, **__: Activation(kind, **parameters)


_PARSERS: Mapping[str, Parser] = {
    "relu": _plain("relu"),
    "relu6": _plain("relu6", low=0.0, high=6.0),
    "hardtanh": _bounded,
    "clamp": _clamp,
    "clip": _clamp,
    "sigmoid": _plain("sigmoid"),
    "expit": _plain("sigmoid"),
    "tanh": _plain("tanh"),
    "gelu": _gelu,
    "silu": _plain("silu"),
    "hardswish": _plain("hard_swish"),
    "hardsigmoid": _plain("hard_sigmoid", alpha=1.0 / 6.0),
    "elu": _elu,
    "selu": _plain("selu"),
    "leaky_relu": _leaky,
    "mish": _plain("mish"),
    "softplus": _softplus,
}
_PLACES = (torch, F, Tensor, torch._C._nn, torch.special, aten)


def _all_functions() -> Mapping[Any, Parser]:
    named = ((place, name + end, parser) for name, parser in _PARSERS.items() for place in _PLACES for end in ("", "_"))
    return {getattr(place, name): parser for place, name, parser in named if hasattr(place, name)}


ACTIVATION_FUNCTIONS = _all_functions()
ACTIVATION_MODULES: tuple[type[nn.Module], ...] = (
    nn.ReLU,
    nn.Hardtanh,
    nn.Sigmoid,
    nn.Tanh,
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.ELU,
    nn.SELU,
    nn.LeakyReLU,
    nn.Mish,
    nn.Softplus,
)


def parse_activation(
    parser: Parser, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Activation, Tensor] | None:
    """The activation and its input, or None where the call is no activation after all."""
    rest = {key: value for key, value in kwargs.items() if key not in ("input", "self", "out")}
    x = args[0] if args else kwargs.get("input", kwargs.get("self"))
    activation = parser(*args[1:], **rest)
    if activation is None or not isinstance(x, Tensor) or not x.is_floating_point() or not x.numel():
        return None
    return activation, x


def is_inplace(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether an activation call writes over its input."""
    named = str(getattr(function, "__name__", "")).endswith("_")
    return named or kwargs.get("inplace") is True or any(value is True for value in args[1:])


def activation_sums(
    activation: Activation, x: Tensor, axis: int, threshold: float, run: Callable[[Tensor], object] | None = None
) -> tuple[ActivationSums, bool]:
    """Saturation (`threshold` on |f'| / max|f'|) and squared derivatives; units lie on `axis`, 1 or the last.

    `run` is the activation itself, to write over x: done tile by tile, it costs no reading of its own. The flag says
    whether that was possible.
    """
    view = channel_view(x, axis)
    parts = list(tilings(view))
    run = run if computable(x) is x and all(_same_memory(part.rows, x) for part in parts) else None
    low, high = _open_interval(tails(activation, threshold), computing_dtype(x))
    counts, square = zip(*(_tiled(activation, tiling, low, high, run) for tiling in parts), strict=True)
    active = sum(counts[1:], counts[0]).sum(0).cpu().numpy()
    elements = x.numel() // view.channels
    saturated = elements - active.round().astype(np.int64)
    slope = _LINEAR_PIECES.get(activation.kind)
    total = sum(square) if slope is None else slope(activation) ** 2 * float(active.sum())
    return ActivationSums(activation.kind, elements, saturated, total), run is not None


def _tiled(
    activation: Activation, tiling: Tiling, low: float, high: float, run: Callable[[Tensor], object] | None
) -> tuple[Tensor, float]:
    """How many values lie between the tails, (N, C) in float64; the sum of squared derivatives where one is needed."""
    inside, square, scratch = tiling.sums(), 0.0, Scratch()
    one = inside.new_ones(1)
    for where, tile in tiling:
        ones, buffer = one.expand(tile.shape), scratch.like(tile)
        torch.sum(aten.hardtanh_backward.grad_input(ones, tile, low, high, grad_input=buffer), 1, out=inside[where])
        if activation.kind not in _LINEAR_PIECES:
            slope = _DERIVATIVES[activation.kind](activation, tile, ones, buffer)
            square += float(torch.linalg.vector_norm(slope)) ** 2
        if run is not None:
            run(tile)
    return tiling.table(inside), square


def _same_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


# Kinds whose derivative is one constant inside the tails and 0 in them.
_LINEAR_PIECES: Mapping[str, Callable[[Activation], float]] = {
    "relu": lambda f: 1.0,
    "relu6": lambda f: 1.0,
    "clip": lambda f: 1.0,
    "hard_sigmoid": lambda f: f.alpha,
}


def _open_interval(edges: Tails, dtype: torch.dtype) -> tuple[float, float]:
    """The bounds between which, both excluded, nothing is saturated, in the dtype that they are compared in."""
    kind = np.float64 if dtype == torch.float64 else np.float32
    low, high = kind(edges.lower), kind(edges.upper)
    if not edges.closed:
        low, high = np.nextafter(low, kind(-np.inf)), np.nextafter(high, kind(np.inf))
    return float(low), float(high)


def _sigmoid_derivative(x: Tensor, scale: float, out: Tensor) -> Tensor:
    """4 s (1 - s) with s = sigmoid(-|scale x|): even in x, and without cancellation where 1 - s would be small."""
    s = torch.abs(x, out=out).mul_(-scale).sigmoid_()
    return s.addcmul_(s, s, value=-1.0)


_DERIVATIVES: Mapping[str, Callable[[Activation, Tensor, Tensor, Tensor], Tensor]] = {
    "sigmoid": lambda f, x, one, out: _sigmoid_derivative(x, 1.0, out),
    "tanh": lambda f, x, one, out: _sigmoid_derivative(x, 2.0, out).mul_(4.0),
    "gelu": lambda f, x, one, out: aten.gelu_backward.grad_input(one, x, approximate="none", grad_input=out),
    "gelu_tanh": lambda f, x, one, out: aten.gelu_backward.grad_input(one, x, approximate="tanh", grad_input=out),
    "silu": lambda f, x, one, out: aten.silu_backward.grad_input(one, x, grad_input=out),
    "hard_swish": lambda f, x, one, out: aten.hardswish_backward(one, x),
    "mish": lambda f, x, one, out: aten.mish_backward(one, x),
    "elu": lambda f, x, one, out: aten.elu_backward.grad_input(one, f.alpha, 1.0, 1.0, False, x, grad_input=out),
    "selu": lambda f, x, one, out: aten.elu_backward.grad_input(
        one, SELU_ALPHA, SELU_SCALE, 1.0, False, x, grad_input=out
    ),
    "softplus": lambda f, x, one, out: aten.softplus_backward.grad_input(one, x, f.alpha, 20.0, grad_input=out),
    "leaky_relu": lambda f, x, one, out: aten.leaky_relu_backward.grad_input(one, x, f.alpha, False, grad_input=out),
}
