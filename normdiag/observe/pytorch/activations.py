"""Activation calls of PyTorch in one form, and their saturation and derivatives as sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normdiag.models.pytorch.functions import MODULES, READERS, function_of
from normdiag.models.pytorch.torch_private import nn_functions
from normdiag.observe.pytorch.reductions import Scratch, Tiling, channel_view, computable, computing_dtype, tilings
from normdiag.ops import FUNCTIONS, Activation, Tails, tails
from normdiag.records import ActivationSums

aten = torch.ops.aten
_PLACES = (torch, F, Tensor, nn_functions, torch.special, aten)


def _all_functions() -> Mapping[Any, str]:
    named = ((place, name + end, name) for name in READERS for place in _PLACES for end in ("", "_"))
    return {getattr(place, called): name for place, called, name in named if hasattr(place, called)}


ACTIVATION_FUNCTIONS = _all_functions()
"""The name of each callable in the registry."""
ACTIVATION_MODULES: tuple[type[nn.Module], ...] = tuple(getattr(nn, name) for name in MODULES if hasattr(nn, name))


def parse_activation(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Activation, Tensor] | None:
    """The activation and its input, or None where the call is no activation after all."""
    rest = {key: value for key, value in kwargs.items() if key not in ("input", "self", "out")}
    x = args[0] if args else kwargs.get("input", kwargs.get("self"))
    activation = function_of(name, args[1:], rest)
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
    edges = tails(activation, threshold)
    pieces = FUNCTIONS[activation.kind].pieces
    parted = None if pieces is None else pieces(activation)
    ends = edges if parted is None else Tails(parted.lower, parted.upper, closed=True)
    low, high = _open_interval(ends, computing_dtype(x))
    counts, square = zip(*(_tiled(activation, tiling, low, high, run) for tiling in parts), strict=True)
    active = sum(counts[1:], counts[0]).sum(0).cpu().numpy()
    elements = x.numel() // view.channels
    saturated = elements - active.round().astype(np.int64)
    total = sum(square)
    if parted is not None:
        total = parted.inside**2 * float(active.sum()) + parted.outside**2 * float(saturated.sum())
    if edges == Tails():
        saturated = np.zeros_like(saturated)
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
        if FUNCTIONS[activation.kind].pieces is None:
            slope = _DERIVATIVES[activation.kind](activation, tile, ones, buffer)
            square += float(torch.linalg.vector_norm(slope)) ** 2
        if run is not None:
            run(tile)
    return tiling.table(inside), square


def _same_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


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
    "selu": lambda f, x, one, out: aten.elu_backward.grad_input(one, f.alpha, f.beta, 1.0, False, x, grad_input=out),
    "softplus": lambda f, x, one, out: aten.softplus_backward.grad_input(one, x, f.alpha, 20.0, grad_input=out),
}
