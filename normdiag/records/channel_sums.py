"""The sums of a BatchNorm's input, in parts of the samples, so that figures over the layer have an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

# Sums over samples are kept in so many parts (sample index modulo PARTS): a figure's error is its jackknife over them.
PARTS = 16


@dataclass(frozen=True)
class Span:
    """Where a batch lies in the data: the index of its first sample, and how many it holds.

    `index` is that of the batch, where its samples were normalized together and so are not independent of each other.
    """

    first: int
    samples: int
    index: int | None = None

    def parts(self, rows: int) -> Counts:
        """The part, 0 to PARTS - 1, of each of `rows` rows that the batch has become: its sample's index modulo PARTS.

        Rows that are a multiple of the samples are taken as lying sample by sample, which is how (N, T, C) becomes
        (N * T, C).
        """
        return np.asarray((self.first + np.arange(rows) * self.samples // max(rows, 1)) % PARTS)

    def sums(self, table: NDArray[Any]) -> Floats:
        """The sums of the rows of a table (rows, ...) by part: float64 of shape (PARTS, ...)."""
        rows, width = len(table), table[:1].size
        if rows and rows % max(self.samples, 1) == 0:  # sample by sample, in the order of the parts
            table = np.asarray(table, np.float64).reshape(self.samples, rows // self.samples, width)
            lead = self.first % PARTS
            padded = np.zeros((-(-(lead + self.samples) // PARTS) * PARTS, width))
            padded[lead : lead + self.samples] = table[:, 0] if table.shape[1] == 1 else table.sum(1)
            return np.asarray(padded.reshape(-1, PARTS, width).sum(0))
        found = np.zeros((PARTS, width))
        np.add.at(found, self.parts(rows), np.asarray(table, np.float64).reshape(rows, width))
        return found


@dataclass(frozen=True, eq=False)
class ChannelSums:
    """The sums of a layer with C channels over its samples, in float64.

    For sample n, m_n is the mean over the channel's positions of (x - mu) and q_n that of (x - mu)^2, with mu the
    stored running_mean. `first` (2, PARTS, C) holds the sums of m and of q by part, `counts` (PARTS,) how many samples
    are in each; where samples were normalized together, both go on with as many parts by batch. `second` (3, C) holds
    the sums over all samples of m^2, q^2 and m*q, `between` (3, C) those over the `batches` of n M^2, n Q^2 and n M Q
    with n the samples of a batch, and M and Q its means of m and q: how far batches differ.
    """

    counts: Counts
    first: Floats
    second: Floats
    batches: int
    between: Floats

    @classmethod
    def of(cls, m: NDArray[Any], q: NDArray[Any], span: Span | None = None) -> ChannelSums:
        """The sums of one batch from its per-sample tables m and q, both of shape (N, C)."""
        m, q = np.asarray(m, np.float64), np.asarray(q, np.float64)
        span = span or Span(0, len(m))
        counts = np.bincount(span.parts(len(m)), minlength=PARTS).astype(np.int64)
        first = np.stack([span.sums(m), span.sums(q)])
        total_m, total_q = m.sum(0), q.sum(0)
        if span.index is not None:
            own = np.arange(PARTS) == span.index % PARTS
            counts = np.concatenate([counts, len(m) * own])
            first = np.concatenate([first, np.stack([total_m, total_q])[:, None] * own[:, None]], 1)
        second = np.stack([(m * m).sum(0), (q * q).sum(0), (m * q).sum(0)])
        between = np.stack([total_m * total_m, total_q * total_q, total_m * total_q]) / max(len(m), 1)
        return cls(counts, first, second, 1, between)

    @property
    def count(self) -> int:
        """Number of samples."""
        return int(self.counts[:PARTS].sum())

    @property
    def m(self) -> Floats:
        """The sum of m over all samples, (C,)."""
        return np.asarray(self.first[0, :PARTS].sum(0))

    @property
    def q(self) -> Floats:
        """The sum of q over all samples, (C,)."""
        return np.asarray(self.first[1, :PARTS].sum(0))

    def __add__(self, other: ChannelSums) -> ChannelSums:
        return ChannelSums(
            self.counts + other.counts,
            self.first + other.first,
            self.second + other.second,
            self.batches + other.batches,
            self.between + other.between,
        )
