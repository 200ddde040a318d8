"""Moments of the groups that LayerNorm, RMSNorm, GroupNorm and InstanceNorm normalize over."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from normdiag.observe.pytorch.norms import NormCall
from normdiag.observe.pytorch.reductions import TILE, Scratch, abs_max, channel_table, computable, row_moments
from normdiag.records import GroupSums


def group_sums(call: NormCall) -> GroupSums | None:
    """What a call normalized; None where its input has no elements."""
    if not call.input.numel():
        return None
    if call.normalized_shape is not None:
        return feature_groups(call.input, math.prod(call.normalized_shape), centred=call.kind == "layer_norm")
    return channel_groups(call.input, call.groups or int(call.input.shape[1]))


def feature_groups(x: Tensor, features: int, *, centred: bool) -> GroupSums:
    """Groups of `features` trailing elements; their variance, or mean square if not `centred`."""
    rows = x.reshape(-1, features)
    squares = x.new_zeros(features, dtype=torch.float64)
    spreads: list[NDArray[np.float64]] = []
    largest, scratch = 0.0, Scratch()
    for part in torch.split(rows, max(1, TILE // (4 * features))):
        tile = computable(part)
        mean, var = row_moments(tile)
        spreads.append(var if centred else var + mean * mean)
        squares += torch.mul(tile, tile, out=scratch.like(tile)).sum(0)
        largest = float(np.maximum(largest, abs_max(tile)))  # which keeps NaN, unlike max()
    return GroupSums.of(
        np.concatenate(spreads),
        squares.cpu().numpy(),
        group_size=features,
        channel_count=x.numel() // features,
        abs_max=largest,
    )


def channel_groups(x: Tensor, groups: int) -> GroupSums:
    """Groups of channels of each sample of (N, C, positions...), with the law of total variance over their channels."""
    table = channel_table(x)
    mean, var = table.sample_moments()
    samples, channels = mean.shape
    grouped = mean.reshape(samples, groups, -1), var.reshape(samples, groups, -1)
    return GroupSums.of(
        grouped[1].mean(2) + grouped[0].var(2),
        table.positions * (var + mean * mean).sum(0),
        group_size=channels // groups * table.positions,
        channel_count=samples * table.positions,
        abs_max=abs_max(x),
    )
