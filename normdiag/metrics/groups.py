"""What LayerNorm, RMSNorm, GroupNorm and InstanceNorm did with the data."""

from __future__ import annotations

import numpy as np

from normdiag.records import GroupMetrics, GroupSums
from normdiag.records.evidence import BINS_PER_OCTAVE, LOWEST_OCTAVE, Counts

# The largest |x| whose square still fits float16: sqrt(65504), rounded up by no more than half its last digit.
HALF_SQUARE_LIMIT = 255.9
HALF_LIMIT = 65504.0


def measure_groups(sums: GroupSums, eps: float | None = None) -> GroupMetrics:
    """Smallest and median variance of a group, largest |x|, RMS per channel (C,) and its outlier."""
    rms = np.sqrt(sums.channel_squares / max(sums.channel_count, 1))
    outlier = int(np.argmax(rms))
    median = float(np.median(rms))
    return GroupMetrics(
        group_size=sums.group_size,
        variance_min=sums.variance_min,
        variance_median=median_variance(sums.variance_counts),
        abs_max=sums.abs_max,
        channel_rms=rms,
        outlier_channel=outlier,
        outlier_ratio=float(rms[outlier]) / median if median > 0 else float("inf" if rms[outlier] > 0 else "nan"),
        half_overflow=sums.abs_max > HALF_SQUARE_LIMIT,
        single_element=sums.group_size == 1,
        largest_sum=largest_sum(sums),
        overflowing=overflowing(sums),
        below_eps=share_below(sums.variance_counts, eps) if eps is not None and eps > 0 else None,
    )


def largest_sum(sums: GroupSums) -> float:
    """The largest sum of squares of a group, from the histogram of variances: up to 4.4 % too small."""
    seen = np.flatnonzero(sums.variance_counts)
    return sums.group_size * 2.0 ** (int(seen[-1]) / BINS_PER_OCTAVE + LOWEST_OCTAVE) if seen.size else 0.0


def overflowing(sums: GroupSums) -> float:
    """The share of groups whose sum of squares does not fit float16, right to one bin of the histogram."""
    edges = 2.0 ** (np.arange(len(sums.variance_counts)) / BINS_PER_OCTAVE + LOWEST_OCTAVE)
    beyond = sums.variance_counts[sums.group_size * edges > HALF_LIMIT]
    return float(beyond.sum() / max(sums.variance_counts.sum(), 1))


def share_below(counts: Counts, limit: float) -> float:
    """The share of groups whose variance lies in a bin below that of `limit` > 0: right to one bin, 4.4 %."""
    edge = int(np.floor((np.log2(limit) - LOWEST_OCTAVE) * BINS_PER_OCTAVE))
    return float(counts[: max(edge, 1)].sum() / max(counts.sum(), 1))


def median_variance(counts: Counts) -> float:
    """The geometric centre of the histogram bin that holds the median, right to 2.2 % (1/32 octave); lowest bin: 0."""
    index = int(np.searchsorted(np.cumsum(counts), (counts.sum() + 1) // 2))
    return 0.0 if index == 0 else float(2.0 ** ((index + 0.5) / BINS_PER_OCTAVE + LOWEST_OCTAVE))
