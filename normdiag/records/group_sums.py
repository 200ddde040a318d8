"""What LayerNorm, RMSNorm, GroupNorm and InstanceNorm see, as sums in parts of the samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.records.channel_sums import PARTS, Span

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

# Variances are counted in bins of a sixteenth of an octave from 2^-150 (below the smallest float32) to 2^130.
BINS_PER_OCTAVE = 16
LOWEST_OCTAVE = -150
VARIANCE_BINS = (130 - LOWEST_OCTAVE) * BINS_PER_OCTAVE


@dataclass(frozen=True, eq=False)
class VarianceCounts:
    """A histogram of variances on a log2 scale: `counts` (PARTS, W) of the W bins from number `first` of VARIANCE_BINS
    on; those of all others are 0. Zeros and NaN are in bin 0.
    """

    first: int
    counts: Counts

    @classmethod
    def of(cls, variances: Floats, parts: Counts) -> VarianceCounts:
        """Of non-negative variances (M,), each of which belongs to one of the `parts` (M,)."""
        positive = np.maximum(np.nan_to_num(variances, nan=0.0), 2.0**LOWEST_OCTAVE)
        index = np.floor((np.log2(positive) - LOWEST_OCTAVE) * BINS_PER_OCTAVE).astype(np.int64)
        index = index.clip(0, VARIANCE_BINS - 1)
        first = int(index.min()) if index.size else 0
        width = int(index.max()) - first + 1 if index.size else 1
        counts = np.bincount(parts * width + index - first, minlength=PARTS * width)
        return cls(first, counts.reshape(PARTS, width).astype(np.int64))

    def __add__(self, other: VarianceCounts) -> VarianceCounts:
        first = min(self.first, other.first)
        last = max(each.first + each.counts.shape[1] for each in (self, other))
        counts = np.zeros((PARTS, last - first), np.int64)
        for each in (self, other):
            start = each.first - first
            counts[:, start : start + each.counts.shape[1]] += each.counts
        return VarianceCounts(first, counts)


@dataclass(frozen=True, eq=False)
class GroupSums:
    """What LayerNorm, RMSNorm, GroupNorm and InstanceNorm see: moments of the groups that they normalize over.

    `variances` counts groups by variance (RMSNorm: mean square), `channel_squares` (PARTS, C) holds the sums of x^2 per
    channel or feature by part, over `channel_counts` (PARTS,) values of each channel, `abs_max` is the largest |x|.
    """

    group_size: int
    variance_min: float
    variances: VarianceCounts
    abs_max: float
    channel_squares: Floats
    channel_counts: Floats

    @classmethod
    def of(
        cls,
        variances: NDArray[Any],
        channel_squares: NDArray[Any],
        *,
        group_size: int,
        channel_count: int,
        abs_max: float,
        span: Span | None = None,
    ) -> GroupSums:
        """The sums of one batch that lies at `span` in the data.

        `variances` are those of every group, sample by sample (any shape), `channel_squares` (rows, C) the sums of
        squares per channel, in rows sample by sample, or (C,); `channel_count` values of each channel are in them.
        """
        flat = np.asarray(variances, np.float64).ravel()
        squares = np.atleast_2d(np.asarray(channel_squares, np.float64))
        span = span or Span(0, len(squares))
        minimum = float(flat.min()) if flat.size else np.inf
        counts = VarianceCounts.of(flat, span.parts(flat.size))
        per_row = np.full((len(squares), 1), channel_count / max(len(squares), 1))
        return cls(group_size, minimum, counts, float(abs_max), span.sums(squares), span.sums(per_row)[:, 0])

    def __add__(self, other: GroupSums) -> GroupSums:
        return GroupSums(
            min(self.group_size, other.group_size),
            float(np.minimum(self.variance_min, other.variance_min)),
            self.variances + other.variances,
            float(np.maximum(self.abs_max, other.abs_max)),
            self.channel_squares + other.channel_squares,
            self.channel_counts + other.channel_counts,
        )
