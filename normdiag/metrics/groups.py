"""What LayerNorm, RMSNorm, GroupNorm and InstanceNorm did with the data."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from normdiag.metrics.jackknife import jackknife, left_out
from normdiag.records import GroupMetrics, GroupSums, VarianceCounts
from normdiag.records.group_sums import BINS_PER_OCTAVE, LOWEST_OCTAVE

Floats = NDArray[np.float64]

# The largest |x| whose square still fits float16: sqrt(65504), rounded up by no more than half its last digit.
HALF_SQUARE_LIMIT = 255.9
HALF_LIMIT = 65504.0


def measure_groups(sums: GroupSums, eps: float | None = None) -> GroupMetrics:
    """Smallest and median variance of a group, largest |x|, RMS per channel (C,) and its outlier.

    Errors are jackknifed over the samples, and None where there is but one. Extremes have none.
    """
    rms = channel_rms(sums.channel_squares.sum(0), sums.channel_counts.sum())
    median_se, ratio_se, below_se = _errors(sums, eps)
    return GroupMetrics(
        group_size=sums.group_size,
        variance_min=sums.variance_min,
        variance_median=median_variance(sums.variances),
        abs_max=sums.abs_max,
        channel_rms=rms,
        outlier_channel=int(np.argmax(rms)),
        outlier_ratio=outlier_ratio(rms),
        half_overflow=sums.abs_max > HALF_SQUARE_LIMIT,
        single_element=sums.group_size == 1,
        largest_sum=largest_sum(sums),
        overflowing=overflowing(sums),
        below_eps=share_below(sums.variances, eps) if eps is not None and eps > 0 else None,
        variance_median_se=median_se,
        outlier_ratio_se=ratio_se,
        below_eps_se=below_se,
    )


def largest_sum(sums: GroupSums) -> float:
    """The largest sum of squares of a group, from the histogram of variances: up to 4.4 % too small."""
    seen = np.flatnonzero(sums.variances.counts.sum(0))
    return sums.group_size * float(_edges(sums.variances)[seen[-1]]) if seen.size else 0.0


def overflowing(sums: GroupSums) -> float:
    """The share of groups whose sum of squares does not fit float16, right to one bin of the histogram."""
    counts = sums.variances.counts.sum(0)
    beyond = counts[sums.group_size * _edges(sums.variances) > HALF_LIMIT]
    return float(beyond.sum() / max(counts.sum(), 1))


def _edges(variances: VarianceCounts) -> Floats:
    """The lower edge of each bin, (W,)."""
    bins = variances.first + np.arange(variances.counts.shape[1])
    return np.asarray(2.0 ** (bins / BINS_PER_OCTAVE + LOWEST_OCTAVE))


def channel_rms(squares: Floats, count: float) -> Floats:
    """The RMS per channel (C,) from the sums of squares over so many values each."""
    return np.asarray(np.sqrt(squares / max(count, 1)))


def outlier_ratio(rms: Floats) -> float:
    """The largest over the median one."""
    largest, median = float(rms.max()), float(np.median(rms))
    return largest / median if median > 0 else math.inf if largest > 0 else math.nan


def share_below(variances: VarianceCounts, limit: float) -> float:
    """The share of groups whose variance lies in a bin below that of `limit` > 0: right to one bin, 4.4 %."""
    edge = int(np.floor((np.log2(limit) - LOWEST_OCTAVE) * BINS_PER_OCTAVE))
    counts = variances.counts.sum(0)
    return float(counts[: max(edge - variances.first, 1 - variances.first, 0)].sum() / max(counts.sum(), 1))


def median_variance(variances: VarianceCounts) -> float:
    """The median, between the edges of its histogram bin by how many lie below it; lowest bin: 0.

    Within a bin, a sixteenth of an octave, variances are taken as evenly spread: it is right to 4.4 % at worst.
    """
    counts = variances.counts.sum(0)
    half = 0.5 * counts.sum()
    reached = np.cumsum(counts)
    index = int(np.searchsorted(reached, half))
    if half == 0 or index + variances.first == 0:
        return 0.0
    within = (half - (reached[index] - counts[index])) / counts[index]
    return float(2.0 ** ((index + variances.first + within) / BINS_PER_OCTAVE + LOWEST_OCTAVE))


def _errors(sums: GroupSums, eps: float | None) -> list[float | None]:
    """Of the median variance, the outlier ratio and the share below eps."""
    variances, counts = sums.variances, sums.channel_counts
    left = (left_out(each, counts) for each in (variances.counts, sums.channel_squares, counts))
    without = [
        _figures(VarianceCounts(variances.first, each[None]), squares, count, eps)
        for each, squares, count in zip(*left, strict=True)
    ]
    whole = _figures(variances, sums.channel_squares.sum(0), counts.sum(), eps)
    errors = jackknife(whole, np.array(without).reshape(-1, len(whole)), counts)
    return [float(each) if math.isfinite(each) else None for each in errors]


def _figures(variances: VarianceCounts, squares: Floats, count: float, eps: float | None) -> Floats:
    below = share_below(variances, eps) if eps is not None and eps > 0 else math.nan
    return np.array([median_variance(variances), outlier_ratio(channel_rms(squares, count)), below])
