"""Convolutions and pools in float64 with numpy: one step for each position of the kernel.

The reference evaluator of onnx gathers all windows first or loops over pixels, and its grouped transposed convolution
and its ceil mode are wrong (seen in 1.23). What is right: https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from normdiag.records.model import Array


@dataclass(frozen=True)
class KernelSteps:
    """How a kernel moves, per spatial axis; `begin` and `end` are the padding that is asked for."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    out: tuple[int, ...]

    def steps(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Each position in the kernel, and where in the padded data it falls over all outputs."""
        for position in np.ndindex(*self.kernel):
            yield position, self.seen_by(position)

    def seen_by(self, position: Sequence[int]) -> tuple[slice, ...]:
        """Where in the padded data one position of the kernel falls over all outputs."""
        axes = zip(position, self.dilations, self.strides, self.out, strict=True)
        return tuple(slice(p * d, p * d + s * (o - 1) + 1, s) for p, d, s, o in axes)

    def reach(self) -> list[int]:
        """The size of the padded data that all windows together take in."""
        return [where.stop for where in self.seen_by([k - 1 for k in self.kernel])]


def make_window(
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str | None,
    ceil: bool = False,
) -> KernelSteps:
    """From the attributes of a node and the spatial size of its input."""
    rank = len(kernel)
    strides, dilations = tuple(strides or (1,) * rank), tuple(dilations or (1,) * rank)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    begin, end = _padding(size, reach, strides, pads, auto_pad)
    out = []
    for n, r, s, b, e in zip(size, reach, strides, begin, end, strict=True):
        count = (math.ceil if ceil else math.floor)((n + b + e - r) / s) + 1
        out.append(count - 1 if ceil and (count - 1) * s >= n + b else count)
    return KernelSteps(tuple(kernel), strides, dilations, begin, end, tuple(out))


def convolve(x: Array, weight: Array, window: KernelSteps, groups: int) -> Array:
    """x (N, C, ...), weight (M, C / groups, ...) to (N, M, ...)."""
    samples, filters = len(x), len(weight) // groups
    padded = padded_for(x, window, 0.0)
    kernels = weight.reshape(groups, filters, weight.shape[1], *weight.shape[2:])
    total = np.zeros((samples, groups, filters, math.prod(window.out)))
    for position, where in window.steps():
        seen = padded[(slice(None), slice(None), *where)].reshape(samples, groups, weight.shape[1], -1)
        total += _product(_at(kernels, position), seen)
    return total.reshape(samples, len(weight), *window.out)


def convolve_transposed(x: Array, weight: Array, window: KernelSteps, groups: int, size: Sequence[int]) -> Array:
    """x (N, C, ...), weight (C, M / groups, ...) to (N, M, *size); `window` is that from the output to x."""
    samples, filters = len(x), weight.shape[1]
    kernels = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    seen = x.reshape(samples, groups, -1, math.prod(x.shape[2:]))
    room = [max(r, b + n) for r, b, n in zip(window.reach(), window.begin, size, strict=True)]
    total = np.zeros((samples, groups * filters, *room))
    for position, where in window.steps():
        part = _product(_at(kernels, position), seen)
        total[(slice(None), slice(None), *where)] += part.reshape(samples, groups * filters, *x.shape[2:])
    return total[(slice(None), slice(None), *(slice(b, b + n) for b, n in zip(window.begin, size, strict=True)))]


def mean(x: Array, window: KernelSteps, *, count_padding: bool) -> Array:
    """AveragePool."""
    ones = np.full((1, 1, *x.shape[2:]), 1.0)
    if count_padding:
        pads = list(zip(window.begin, window.end, strict=True))
        ones = np.pad(ones, [(0, 0), (0, 0), *pads], constant_values=1.0)
        x = np.pad(x, [(0, 0), (0, 0), *pads])
        nothing = (0,) * len(window.kernel)
        window = KernelSteps(window.kernel, window.strides, window.dilations, nothing, nothing, window.out)
    return reduced(x, window, 0.0, np.add) / reduced(ones, window, 0.0, np.add)


def reduced(x: Array, window: KernelSteps, start: float, combine: Callable[[Array, Array], Array]) -> Array:
    """All values of each window combined."""
    padded = padded_for(x, window, start)
    total = np.full((*x.shape[:2], *window.out), start)
    for _, where in window.steps():
        total = combine(total, padded[(slice(None), slice(None), *where)])
    return total


def padded_for(x: Array, window: KernelSteps, value: float) -> Array:
    """The data with as much around it as the windows reach."""
    pads = [(b, max(0, r - n - b)) for n, b, r in zip(x.shape[2:], window.begin, window.reach(), strict=True)]
    return np.pad(x, [(0, 0), (0, 0), *pads], constant_values=value) if any(map(any, pads)) else x


def _at(kernels: Array, position: tuple[int, ...]) -> Array:
    index: tuple[Any, ...] = (slice(None), slice(None), slice(None), *position)
    return np.asarray(kernels[index])


def _product(kernel: Array, seen: Array) -> Array:
    """kernel (groups, filters, channels), seen (N, groups, channels, positions)."""
    if kernel.shape[2] == 1:
        return kernel * seen
    product: Array = kernel @ seen
    return product


def _padding(
    size: Sequence[int], reach: Sequence[int], strides: Sequence[int], pads: Sequence[int] | None, auto_pad: str | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rank = len(reach)
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        pads = (0,) * (2 * rank) if pads is None or auto_pad == "VALID" else tuple(pads)
        return tuple(pads[:rank]), tuple(pads[rank:])
    total = [max(0, (-(-n // s) - 1) * s + r - n) for n, r, s in zip(size, reach, strides, strict=True)]
    less, more = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    return (less, more) if auto_pad == "SAME_UPPER" else (more, less)
