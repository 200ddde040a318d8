"""Activation calls of PyTorch in one form, and their saturation and derivatives as sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from normdiag.models.pytorch.functions import MODULES, READERS, function_of
from normdiag.models.pytorch.torch_private import nn_functions
from normdiag.observe.pytorch.reductions import (
    ChannelView,
    Scratch,
    Tiling,
    channel_view,
    computable,
    computing_dtype,
    tilings,
)
from normdiag.observe.sampled import choose, sampled_sums, wanted
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
    activation: Activation,
    x: Tensor,
    axis: int,
    threshold: float,
    random: np.random.Generator,
    run: Callable[[Tensor], object] | None = None,
) -> tuple[ActivationSums, bool]:
    """Saturation (`threshold` on |f'| / max|f'|) and squared derivatives; units lie on `axis`, 1 or the last.

    Flat pieces are counted; of smooth functions a share of the values is looked at. `run` is the activation itself, to
    write over x: done tile by tile, it costs no reading of its own. The flag says whether that was possible.
    """
    view, edges = channel_view(x, axis), tails(activation, threshold)
    parted = FUNCTIONS[activation.kind].pieces
    pieces = None if parted is None else parted(activation)
    if pieces is None and not edges.closed:
        return _looked_at(activation, view, edges, None, random), False
    square = None if pieces is not None else _looked_at(activation, view, edges, np.zeros(view.channels, int), random)
    outside, done = _outside(x, view, edges if pieces is None else Tails(pieces.lower, pieces.upper, True), run)
    if square is not None:
        return replace(square, saturated=outside, responsive=outside < square.elements), done
    assert pieces is not None
    elements = x.numel() // view.channels
    total = pieces.outside**2 * outside.sum() + pieces.inside**2 * (elements * view.channels - outside.sum())
    saturated = outside if edges != Tails() else np.zeros_like(outside)
    return ActivationSums(activation.kind, elements, saturated, float(total)), done


def _looked_at(
    activation: Activation,
    view: ChannelView,
    edges: Tails,
    counted: NDArray[np.int64] | None,
    random: np.random.Generator,
) -> ActivationSums:
    """The sums from some of the rows of units; whether a unit is dead is told by all of its values."""
    places = view.samples * view.positions
    chosen = choose(places, wanted(places, view.data.numel()), random)
    values = computable(view.rows(chosen)).cpu().numpy()
    sums = sampled_sums(activation, values[:, None], places, edges, counted)
    if counted is not None or sums.responsive is None or sums.responsive.all():
        return sums
    doubtful = np.flatnonzero(~sums.responsive)
    low, high = _open_interval(edges, computing_dtype(view.data))
    rest = computable(view.units(doubtful))
    responsive = sums.responsive.copy()
    responsive[doubtful] = ((rest > low) & (rest < high)).flatten(1).any(1).cpu().numpy()
    return replace(sums, responsive=responsive)


def _outside(
    x: Tensor, view: ChannelView, edges: Tails, run: Callable[[Tensor], object] | None
) -> tuple[NDArray[np.int64], bool]:
    """How many values of each unit are not between the edges, (C,), and whether x was run."""
    parts = list(tilings(view))
    run = run if computable(x) is x and all(_same_memory(part.rows, x) for part in parts) else None
    low, high = _open_interval(edges, computing_dtype(x))
    counts = [_inside(tiling, low, high, run) for tiling in parts]
    inside = sum(counts[1:], counts[0]).sum(0).cpu().numpy()
    return x.numel() // view.channels - inside.round().astype(np.int64), run is not None


def _inside(tiling: Tiling, low: float, high: float, run: Callable[[Tensor], object] | None) -> Tensor:
    """How many values lie between two bounds, (N, C) in float64."""
    inside, scratch = tiling.sums(), Scratch()
    one = inside.new_ones(1)
    for where, tile in tiling:
        ones, buffer = one.expand(tile.shape), scratch.like(tile)
        torch.sum(aten.hardtanh_backward.grad_input(ones, tile, low, high, grad_input=buffer), 1, out=inside[where])
        if run is not None:
            run(tile)
    return tiling.table(inside)


def _same_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def _open_interval(edges: Tails, dtype: torch.dtype) -> tuple[float, float]:
    """The bounds between which, both excluded, nothing is saturated, in the dtype that they are compared in."""
    kind = np.float64 if dtype == torch.float64 else np.float32
    low, high = kind(edges.lower), kind(edges.upper)
    if not edges.closed:
        low, high = np.nextafter(low, kind(-np.inf)), np.nextafter(high, kind(np.inf))
    return float(low), float(high)
