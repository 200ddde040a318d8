"""Weights of convolutions and linear layers in one view: (group, a, b, kernel), with channels along known axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from normdiag.records import Conv, Linear
from normdiag.records.model import Array

# Numbers that are worked on at a time: 512 kB in float64, which stays in the cache.
BLOCK = 1 << 16


@dataclass(frozen=True)
class Layout:
    """`shape` (groups or batch, a, b, kernel); `out_axis` and `in_axis` are 1 and 2 or the other way round.

    Channels number groups * shape[out_axis], group by group; `groups` is 1 where the first axis is a batch of matrices,
    which share their channels.
    """

    shape: tuple[int, int, int, int]
    groups: int
    out_axis: int
    in_axis: int

    def along(self, values: Array, axis: int) -> Array:
        """A vector over the channels on an axis (or one number), so that it is broadcast over the view."""
        if values.size == 1:
            return values.reshape(1, 1, 1, 1)
        shape = [self.groups, 1, 1, 1]
        shape[axis] = -1
        return values.reshape(shape)

    def over_out(self, largest: Array) -> Array:
        """Maxima (first, out) per output channel (channels,)."""
        return largest.reshape(-1) if self.groups > 1 else largest.max(0)


def layout(layer: Conv | Linear) -> Layout:
    """How the weight of this layer is laid out."""
    shape = layer.weight.shape
    if isinstance(layer, Linear):
        batch = int(np.prod(shape[:-2], dtype=np.int64))
        return Layout((batch, shape[-2], shape[-1], 1), 1, 3 + layer.out_axis, 3 + layer.in_axis)
    kernel = int(np.prod(shape[2:], dtype=np.int64))
    grouped = (layer.groups, shape[0] // layer.groups, shape[1], kernel)
    return Layout(grouped, layer.groups, 2, 1) if layer.transposed else Layout(grouped, layer.groups, 1, 2)


def blocks(shape: tuple[int, int, int, int]) -> Iterator[tuple[slice, slice]]:
    """Slices of the first two axes that cover the view piece by piece."""
    group = shape[1] * shape[2] * shape[3]
    rows = max(1, BLOCK // max(1, shape[2] * shape[3]))
    if group and group <= BLOCK:
        step = max(1, BLOCK // group)
        yield from ((slice(start, start + step), slice(None)) for start in range(0, shape[0], step))
        return
    for index in range(shape[0]):
        yield from ((slice(index, index + 1), slice(start, start + rows)) for start in range(0, shape[1], rows))


def peaks(piece: Array, axis: int) -> Array:
    """The largest number, or 0, for each entry of the first axis and of `axis`, which is 1 or 2."""
    if axis == 1:
        largest: Array = piece.reshape(*piece.shape[:2], -1).max(2, initial=0)
    else:
        largest = piece.max(1, initial=0).max(2, initial=0)
    return largest


def part(values: Array, where: tuple[slice, slice]) -> Array:
    """That part of something broadcast over the view."""
    first, second = (place if size > 1 else slice(None) for place, size in zip(where, values.shape, strict=False))
    return values[first, second]


def place(where: tuple[slice, slice], axis: int) -> tuple[slice, slice]:
    """The part of (first axis, channels along `axis`) that a block belongs to."""
    return where[0], where[1] if axis == 1 else slice(None)


def tap(layer: Conv) -> int | None:
    """The tap of the kernel, counted over all its axes, that reads the position it writes; None where there is none."""
    kernel, count = layer.weight.shape[2:], len(layer.weight.shape) - 2
    strides, spread, pads = layer.strides, layer.dilations, layer.pads
    if layer.transposed or strides is None or spread is None or pads is None or any(each != 1 for each in strides):
        return None
    places = [pad // step for pad, step in zip(pads[:count], spread, strict=True)]
    whole = all(place * step == pad for place, step, pad in zip(places, spread, pads, strict=False))
    kept = all(
        pads[i] + pads[i + count] == (kernel[i] - 1) * spread[i] and 0 <= places[i] < kernel[i] for i in range(count)
    )
    return int(np.ravel_multi_index(tuple(places), kernel)) if whole and kept else None
