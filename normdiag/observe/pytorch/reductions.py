"""Sums over positions, per sample and channel, at the speed of memory and to the digits that a drift needs.

A tensor (N, C, positions...) is read as it lies in memory: planar (N, C, P), or inner (N, P, C) when channels come
last. Both are walked in tiles that stay in cache, so that what is computed on the way (squares,
derivatives) never reaches main memory. Sums within a tile are float32 (float64 for float64 data), over tiles float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from normdiag.observe.sums import SHIFT_RATIO, channel_sums
from normdiag.records import ChannelSums, Span

Floats = NDArray[np.float64]
# Bytes. Smaller tiles stay closer to the processor, but cost more waiting of its threads for each other.
TILE = 4 << 20
LONGEST = 1 << 14  # positions in one float32 norm, whose error grows with them: 5e-7 here


@dataclass(frozen=True, eq=False)
class ChannelView:
    """A tensor as (N, P, C) if `inner`, else as (N, C, P)."""

    data: Tensor
    inner: bool

    @property
    def channels(self) -> int:
        """C."""
        return int(self.data.shape[2 if self.inner else 1])

    @property
    def positions(self) -> int:
        """P."""
        return int(self.data.shape[1 if self.inner else 2])

    @property
    def samples(self) -> int:
        """N."""
        return int(self.data.shape[0])

    def rows(self, places: NDArray[np.int64]) -> Tensor:
        """The values of all channels at some of the N * P places, (K, C)."""
        index = torch.from_numpy(places).to(self.data.device)
        sample, position = index // self.positions, index % self.positions
        return self.data[sample, position] if self.inner else self.data[sample, :, position]

    def units(self, channels: NDArray[np.intp]) -> Tensor:
        """All values of some channels, (channels, N, P)."""
        index = torch.from_numpy(channels).to(self.data.device)
        return self.data.index_select(2 if self.inner else 1, index).movedim(2 if self.inner else 1, 0)


@dataclass(frozen=True, eq=False)
class Tiling:
    """A ChannelView, its positions cut into `pieces` of p: rows (N * pieces, p, C), or (N * C * pieces, p) if planar.

    A tile is `step` rows. Sums over p are put together by `table`.
    """

    rows: Tensor
    samples: int
    channels: int
    pieces: int
    step: int

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        """Every tile in computing precision, with the rows that it covers."""
        for start in range(0, self.rows.shape[0], self.step):
            where = slice(start, start + self.step)
            yield where, computable(self.rows[where])

    def sums(self) -> Tensor:
        """Room for one sum per row and channel: (rows, C), or (rows,) if planar."""
        shape = (self.rows.shape[0], *self.rows.shape[2:])
        return self.rows.new_empty(shape, dtype=computing_dtype(self.rows))

    def table(self, sums: Tensor) -> Tensor:
        """The sums as (N, C) in float64."""
        if sums.dim() == 2:
            return sums.view(self.samples, self.pieces, self.channels).sum(1, dtype=torch.float64)
        return sums.view(self.samples, self.channels, self.pieces).sum(2, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class SampleTable:
    """Per sample and channel, (N, C) in float64: the sums of (x - shift) and (x - shift)^2 over P positions."""

    total: Floats
    square: Floats
    positions: int
    shift: Floats

    def sums(self, mean: NDArray[Any], span: Span | None = None) -> ChannelSums:
        """The sums about `mean` (C,) of a batch that lies at `span` in the data."""
        return channel_sums(self.total, self.square, self.positions, np.asarray(mean, np.float64) - self.shift, span)

    def sample_moments(self) -> tuple[Floats, Floats]:
        """Mean and variance of every sample and channel, (N, C) each."""
        average = self.total / self.positions
        return average + self.shift, np.maximum(self.square / self.positions - average * average, 0.0)

    def moments(self) -> tuple[Floats, Floats]:
        """Mean and (biased) variance of every channel over the batch, (C,) each."""
        count = self.positions * self.total.shape[0]
        average = self.total.sum(0) / count
        with np.errstate(invalid="ignore"):  # infinities in the data
            var = self.square.sum(0) / count - average * average
        return average + self.shift, np.maximum(var, 0.0)


def channel_table(x: Tensor) -> SampleTable:
    """The sums of a tensor (N, C, positions...) of any layout and floating dtype.

    Channels whose mean is large beside their spread are summed again with the mean subtracted first: raw sums would
    lose the digits that the variance is made of.
    """
    view = channel_view(x, 1)
    total, square = _sums(view)
    shift = np.zeros(total.shape[1])
    raw = SampleTable(total, square, view.positions, shift)
    mean, var = raw.moments()
    worst = np.flatnonzero(mean * mean > SHIFT_RATIO * var)
    if len(worst):
        shift[worst] = np.float32(mean[worst])
        total[:, worst], square[:, worst] = _shifted_sums(view, worst, shift[worst])
    return raw


def channel_view(x: Tensor, axis: int) -> ChannelView:
    """A tensor with its channels on `axis` (1, or the last) as a ChannelView; a copy only if it has neither layout."""
    if x.dim() < 2:
        x, axis = x.reshape(-1, 1), 1
    if axis != 1 or x.dim() == 2:
        return (
            ChannelView(x.reshape(x.shape[0], -1, x.shape[-1]), inner=True)
            if axis != 1
            else ChannelView(x.unsqueeze(2), inner=False)
        )
    if x.stride(1) == 1 and x.shape[1] > 1:
        return ChannelView(x.movedim(1, -1).flatten(1, -2), inner=True)
    return ChannelView(x.flatten(2), inner=False)


def tilings(view: ChannelView) -> Iterator[Tiling]:
    """The whole of a view: one tiling, or two where its positions do not divide into pieces."""
    size = computing_dtype(view.data).itemsize
    longest = max(1, TILE // max(1, size * view.channels)) if view.inner else LONGEST
    wanted = max(1, -(-view.positions // longest))
    pieces = next((k for k in range(wanted, 4 * wanted) if view.positions % k == 0), wanted)
    whole = view.positions - view.positions % pieces
    yield _tiling(view, 0, whole, pieces)
    if whole < view.positions:
        yield _tiling(view, whole, view.positions, 1)


def _tiling(view: ChannelView, start: int, stop: int, pieces: int) -> Tiling:
    axis, piece = 1 if view.inner else 2, (stop - start) // pieces
    part = view.data if stop - start == view.positions else view.data.narrow(axis, start, stop - start)
    shape = (-1, piece, view.channels) if view.inner else (-1, piece)
    rows = part.reshape(shape)
    size = computing_dtype(rows).itemsize * piece * (view.channels if view.inner else 1)
    return Tiling(rows, view.data.shape[0], view.channels, pieces, max(1, TILE // max(1, size)))


def computing_dtype(x: Tensor) -> torch.dtype:
    """float64 for float64, float32 for everything else."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def computable(x: Tensor) -> Tensor:
    """x in computing precision; itself where it already is."""
    return x.to(computing_dtype(x))


class Scratch:
    """One buffer for the intermediate values of tiles, grown to the largest and used again."""

    def __init__(self) -> None:
        """No memory yet."""
        self._buffer: Tensor | None = None

    def like(self, tile: Tensor) -> Tensor:
        """An uninitialised dense tensor of the tile's shape and dtype; the next call hands out the same memory."""
        if self._buffer is None or self._buffer.numel() < tile.numel():
            self._buffer = tile.new_empty(tile.numel())
        return self._buffer[: tile.numel()].view(tile.shape)


def _sums(view: ChannelView) -> tuple[Floats, Floats]:
    """The sums of x and x^2, (N, C) each."""
    scratch = Scratch()
    parts = [_sums_of(tiling, scratch) for tiling in tilings(view)]
    total, square = (sum(each[1:], each[0]) for each in zip(*parts, strict=True))
    return total.cpu().numpy(), square.cpu().numpy()


def _sums_of(tiling: Tiling, scratch: Scratch) -> tuple[Tensor, Tensor]:
    total, square = tiling.sums(), tiling.sums()
    if tiling.rows.dim() == 3:
        for where, tile in tiling:
            torch.sum(tile, 1, out=total[where])
            torch.sum(torch.mul(tile, tile, out=scratch.like(tile)), 1, out=square[where])
        return tiling.table(total), tiling.table(square)
    for where, tile in tiling:  # contiguous positions: the norm is as fast as the sum
        torch.sum(tile, 1, out=total[where])
        torch.linalg.vector_norm(tile, dim=1, out=square[where])
    return tiling.table(total), tiling.table(square.double().square_())


def _shifted_sums(view: ChannelView, channels: NDArray[np.intp], shift: Floats) -> tuple[Floats, Floats]:
    """_sums of (x - shift) for some channels, a few samples at a time."""
    axis = 2 if view.inner else 1
    index = torch.from_numpy(channels).to(view.data.device)
    step = max(1, TILE // max(1, 4 * len(channels) * view.positions))
    parts = []
    for block in torch.split(view.data, step):
        chosen = computable(block.index_select(axis, index))
        by = torch.from_numpy(shift).to(chosen.device, chosen.dtype)
        parts.append(_sums(ChannelView(chosen.sub_(by if view.inner else by[:, None]), view.inner)))
    return np.concatenate([total for total, _ in parts]), np.concatenate([square for _, square in parts])


def row_moments(rows: Tensor) -> tuple[Floats, Floats]:
    """Mean and variance of each row of (M, K), float64 (M,); where the mean dwarfs the spread, computed in float64."""
    total, norm = rows.sum(1), torch.linalg.vector_norm(rows, dim=1)
    size = rows.shape[1]
    mean = total.double() / size
    var = (norm.double().square() / size - mean * mean).clamp_(min=0.0)
    worst = (mean * mean > SHIFT_RATIO * var).nonzero()[:, 0]
    for part in worst.split(max(1, TILE // max(1, 8 * size))) if len(worst) else ():
        exact = rows[part].double()
        mean[part] = exact.mean(1)
        var[part] = exact.var(1, unbiased=False)
    return mean.cpu().numpy(), var.cpu().numpy()


def abs_max(x: Tensor) -> float:
    """The largest |x|; NaN if there is one."""
    if not x.numel():
        return 0.0
    low, high = torch.aminmax(x)
    values = float(-low), float(high)
    return math.nan if math.isnan(sum(values)) and any(map(math.isnan, values)) else max(values)
