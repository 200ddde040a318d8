"""Moments of the groups that LayerNorm, RMSNorm, GroupNorm and InstanceNorm normalize over."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from normdiag.observe.pytorch.norms import NormCall
from normdiag.observe.pytorch.reductions import (
    ChannelView,
    Scratch,
    Tiling,
    abs_max,
    channel_table,
    row_moments,
    tilings,
)
from normdiag.records import GroupSums, Span

Floats = NDArray[np.float64]


def group_sums(call: NormCall, span: Span | None = None) -> GroupSums | None:
    """What a call normalized, on a batch at `span` in the data; None where its input has no elements."""
    if not call.input.numel():
        return None
    if call.normalized_shape is not None:
        centred = call.kind == "layer_norm"
        return feature_groups(call.input, math.prod(call.normalized_shape), centred=centred, span=span)
    return channel_groups(call.input, call.groups or int(call.input.shape[1]), span)


def feature_groups(x: Tensor, features: int, *, centred: bool, span: Span | None = None) -> GroupSums:
    """Groups of `features` trailing elements; their variance, or mean square if not `centred`."""
    rows = x.numel() // features
    span = span or Span(0, len(x) if x.numel() > features else 1)
    samples = span.samples if rows % max(span.samples, 1) == 0 else rows
    parts = [_tiled(tiling, centred=centred) for tiling in tilings(ChannelView(x.reshape(samples, -1, features), True))]
    spreads, squares, largest = zip(*parts, strict=True)
    return GroupSums.of(
        np.concatenate([each.reshape(samples, -1) for each in spreads], 1),
        sum(squares[1:], squares[0]),
        group_size=features,
        channel_count=rows,
        abs_max=float(np.max(largest)),  # which keeps NaN, unlike max()
        span=span,
    )


def _tiled(tiling: Tiling, *, centred: bool) -> tuple[Floats, Floats, float]:
    """The spread of each row of features, sample by sample, their squares (N, C) summed over the rows, and max |x|."""
    spreads: list[Floats] = []
    squares, scratch, largest = tiling.sums(), Scratch(), 0.0
    for where, tile in tiling:
        mean, var = row_moments(tile.flatten(0, 1))
        spreads.append(var if centred else var + mean * mean)
        torch.sum(torch.mul(tile, tile, out=scratch.like(tile)), 1, out=squares[where])
        largest = float(np.maximum(largest, abs_max(tile)))
    return np.concatenate(spreads), tiling.table(squares).cpu().numpy(), largest


def channel_groups(x: Tensor, groups: int, span: Span | None = None) -> GroupSums:
    """Groups of channels of each sample of (N, C, positions...), with the law of total variance over their channels."""
    table = channel_table(x)
    mean, var = table.sample_moments()
    samples, channels = mean.shape
    grouped = mean.reshape(samples, groups, -1), var.reshape(samples, groups, -1)
    return GroupSums.of(
        grouped[1].mean(2) + grouped[0].var(2),
        table.positions * (var + mean * mean),
        group_size=channels // groups * table.positions,
        channel_count=samples * table.positions,
        abs_max=abs_max(x),
        span=span,
    )
