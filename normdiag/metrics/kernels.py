"""Means of channels through convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from normdiag.metrics.rewritten import rewritten
from normdiag.records import Conv, Linear, MeanResponse, Sizes

Floats = NDArray[np.float64]
_BLOCK = 2**16
# Of random weights with twice as many inputs as outputs the strongest direction is six times the weakest one.
WIDEST, MOST_OUTPUTS = 2, 1024


def conv_mean(conv: Conv, mean: Floats, before: Sizes | None, after: Sizes | None) -> Floats | None:
    """Mean of each output channel, over all positions, of a convolution whose inputs have the mean `mean` (C,).

    The zeros that padding puts around the input lower it: each position of the kernel counts with the share of the
    output positions at which it lies on the input. Where the sizes are free, as if there were no border. None where
    the weights do not fit. Sums are in float32: one pass over the bytes.
    """
    weight = np.asarray(conv.weight.read()).astype(np.float32, copy=False)
    spatial, groups = weight.shape[2:], conv.groups
    inputs = weight.shape[0] if conv.transposed else weight.shape[1] * groups
    if len(mean) != inputs:
        return None
    shares = [_shares(conv, i, before, after) for i in range(len(spatial))]
    kernel = reduce(np.multiply.outer, shares, np.ones(()))
    spread = (mean.reshape(groups, -1, 1) * kernel.reshape(-1)).astype(np.float32)  # (groups, in / groups, positions)
    if conv.transposed:
        cut = weight.reshape(groups, inputs // groups, -1, kernel.size)
        found = np.einsum("giok,gik->go", cut, spread).reshape(-1)
    else:
        found = _products(weight.reshape(groups, len(weight) // groups, -1), spread.reshape(groups, -1, 1)).reshape(-1)
    bias = np.zeros(1) if conv.bias is None else np.asarray(conv.bias.read(), np.float64)
    return np.asarray(found + bias)


def conv_response(conv: Conv, before: Sizes | None, after: Sizes | None) -> MeanResponse | None:
    """Of a convolution; None in groups, and where it is too wide."""
    outputs, inputs, *lengths = conv.weight.shape
    if conv.groups > 1 or conv.transposed or _too_wide(inputs, outputs):
        return None
    stored = np.asarray(conv.weight.read())
    weight = stored.astype(np.float64).reshape(outputs, inputs, -1)
    kernel = reduce(np.multiply.outer, [_shares(conv, i, before, after) for i in range(len(lengths))], np.ones(()))
    sizes = [_known(before, i) for i in range(len(lengths))]
    border = sum((length - 1) / max(size or 1, 1) for length, size in zip(lengths, sizes, strict=True))
    return MeanResponse(weight @ kernel.reshape(-1), min(border, 1.0), rewritten(stored))


def _products(rows: NDArray[np.float32], columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """(groups, r, k) times (groups, k, 1), by blocks: numpy copies what does not lie aligned in a file."""
    groups, count, length = rows.shape
    found = np.empty((groups, count, 1), np.float32)
    step = max(1, _BLOCK // max(1, length * (count if groups > 1 else 1)))
    for start in range(0, groups if groups > 1 else count, step):
        here = slice(start, start + step)
        where = (here, slice(None)) if groups > 1 else (slice(None), here)
        np.matmul(rows[where], columns[where[0]], out=found[where])
    return found


def _shares(conv: Conv, index: int, before: Sizes | None, after: Sizes | None) -> Floats:
    """For each position of the kernel along one dimension, the share of output positions at which it meets input."""
    length = conv.weight.shape[2 + index]
    stride, dilation = ((1 if each is None else each[index]) for each in (conv.strides, conv.dilations))
    small, large = _known(after, index), _known(before, index)
    if conv.transposed:
        small, large = large, small
    if small is None or large is None or small < 1 or large < 1:
        return np.full(length, 1.0 / stride if conv.transposed else 1.0)
    needed = max((small - 1) * stride + (length - 1) * dilation + 1 - large, 0)
    pad = needed // 2 if conv.pads is None else conv.pads[index]
    # Counted are the i in [0, small) with 0 <= i * stride + offset < large.
    offsets = [position * dilation - pad for position in range(length)]
    first = [min(max(-(offset // stride), 0), small) for offset in offsets]
    last = [min(max(-((offset - large) // stride), 0), small) for offset in offsets]
    counted = [max(end - start, 0) for start, end in zip(first, last, strict=True)]
    return np.asarray(counted, np.float64) / (large if conv.transposed else small)


def _known(sizes: Sizes | None, index: int) -> int | None:
    return None if sizes is None or len(sizes) <= 2 + index else sizes[2 + index].known


def linear_mean(linear: Linear, mean: Floats) -> Floats | None:
    """Mean of each output channel of a product with a matrix; None where it is not one matrix and a bias for it."""
    if len(linear.weight.shape) != 2:
        return None
    weight = np.asarray(linear.weight.read()).astype(np.float32, copy=False)
    if weight.shape[linear.in_axis] != len(mean):
        return None
    vector = mean.astype(np.float32)
    found = vector @ weight if linear.in_axis % 2 == 0 else weight @ vector
    bias = np.zeros(1) if linear.bias is None else np.asarray(linear.bias.read(), np.float64)
    if bias.size not in (1, len(found)) or not _along(bias.shape, linear.channel_axis):
        return None
    return np.asarray(linear.alpha * found + linear.beta * bias.reshape(-1))


def linear_response(linear: Linear) -> MeanResponse | None:
    """Of a product with a matrix, which has no border; None for several, and where it is too wide."""
    shape = linear.weight.shape
    if len(shape) != 2 or _too_wide(shape[linear.in_axis], shape[linear.out_axis]):
        return None
    stored = np.asarray(linear.weight.read())
    weight = (stored.T if linear.in_axis % 2 == 0 else stored).astype(np.float64)
    return MeanResponse(linear.alpha * weight, 0.0, rewritten(weight))


def _too_wide(inputs: int, outputs: int) -> bool:
    """Whether the inputs are so many that they move the outputs in all directions alike, or too many to decompose."""
    return inputs > WIDEST * outputs or outputs > MOST_OUTPUTS


def _along(shape: Sequence[int], axis: int) -> bool:
    """Whether a bias varies along the channels alone."""
    place = len(shape) + axis
    return all(size == 1 for i, size in enumerate(shape) if i != place)
