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
from normdiag.observe.sampled import choose, of_pieces, parts_of, sampled_sums, wanted
from normdiag.ops import FUNCTIONS, Activation, Tails, tails
from normdiag.records import ActivationSums, Span

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
    span: Span | None = None,
) -> tuple[ActivationSums, bool]:
    """Saturation (`threshold` on |f'| / max|f'|) and squared derivatives; units lie on `axis`, 1 or the last.

    Flat pieces are counted; of smooth functions a share of the values is looked at. `run` is the activation itself, to
    write over x: done tile by tile, it costs no reading of its own. The flag says whether that was possible. `span` is
    where the batch lies in the data.
    """
    view, edges = channel_view(x, axis), tails(activation, threshold)
    span = span or Span(0, len(x) if x.dim() else 1)
    parted = FUNCTIONS[activation.kind].pieces
    pieces = None if parted is None else parted(activation)
    if pieces is None and not edges.closed:
        return _with_responsive(_looked_at(activation, view, edges, random, span), view, edges), False
    looked = _looked_at(activation, view, edges, random, span) if pieces is None else None  # before x is written over
    outside, done = _outside(x, view, edges if pieces is None else Tails(pieces.lower, pieces.upper, True), run)
    if looked is not None:
        return looked.counted(outside, span), done
    assert pieces is not None
    elements = x.numel() // view.channels
    return of_pieces(activation.kind, pieces, edges, elements, outside, span), done


def _looked_at(
    activation: Activation, view: ChannelView, edges: Tails, random: np.random.Generator, span: Span
) -> ActivationSums:
    """The sums from some of the rows of units."""
    places = view.samples * view.positions
    chosen = choose(places, wanted(places, view.data.numel()), random)
    values = computable(view.rows(chosen)).cpu().numpy()
    return sampled_sums(activation, values[:, None], places, edges, parts_of(chosen, places, 1, span))


def _with_responsive(sums: ActivationSums, view: ChannelView, edges: Tails) -> ActivationSums:
    """Whether a unit is dead is told by all of its values."""
    if sums.responsive is None or sums.responsive.all():
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
    """How many values of each sample and unit are not between the edges, (N, C), and whether x was run."""
    parts = list(tilings(view))
    run = run if computable(x) is x and all(_same_memory(part.rows, x) for part in parts) else None
    low, high = _open_interval(edges, computing_dtype(x))
    counts = [_inside(tiling, low, high, run) for tiling in parts]
    inside = sum(counts[1:], counts[0]).cpu().numpy()
    return view.positions - inside.round().astype(np.int64), run is not None


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
