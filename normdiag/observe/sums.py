"""From what a backend sums over positions to the five sums of a channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.records import ChannelSums, Span

Array = NDArray[Any]
Floats = NDArray[np.float64]

# The mean of (x - mu)^2 taken from raw float32 sums loses log10(1 + mu^2/var) digits. Up to this ratio one digit is
# lost of the seven, which a drift to 1e-5 can spare; above it the backend subtracts mu before it sums.
SHIFT_RATIO = 10.0


def channel_sums(total: Array, square: Array, positions: int, mean: Array, span: Span | None = None) -> ChannelSums:
    """The five sums of one batch from its raw per-sample sums.

    `total` and `square`, both (N, C), are the sums of x and x^2 over the `positions` of each channel; `mean` (C,) is
    the stored running_mean, or zeros where the backend has already subtracted it; `span` is where the batch lies in
    the data (None: at its beginning).
    """
    with np.errstate(all="ignore"):
        return ChannelSums.of(*sample_means(total, square, positions, mean), span)


def sample_means(total: Array, square: Array, positions: int, mean: Array) -> tuple[Floats, Floats]:
    """Per sample and channel, (N, C) each, the means of (x - mean) and (x - mean)^2 from sums of x and x^2.

    The shift is done in float64: m = total/P - mean; q = square/P - 2 mean total/P + mean^2 (floored at m^2, which
    rounding alone can undercut).
    """
    mu = np.asarray(mean, np.float64)
    with np.errstate(all="ignore"):  # NaN and infinity in the activations are what a rule reports
        m, q = (np.divide(each, positions, dtype=np.float64) for each in (total, square))
        shift = 2.0 * m
        shift -= mu
        shift *= mu
        q -= shift
        m -= mu
        return m, np.maximum(q, m * m, out=q)


def finite_shift(mean: Array) -> NDArray[np.float64]:
    """The stored mean (C,) as a shift for sums, with 0 where it is not finite: what is wrong must not spoil them."""
    mu = np.asarray(mean, np.float64)
    return np.where(np.isfinite(mu), mu, 0.0)


def needs_shift(mean: Array, var: Array) -> bool:
    """Whether any channel's stored mean (C,) is so large beside its stored variance (C,) that raw sums lose digits."""
    mu, variance = np.asarray(mean, np.float64), np.asarray(var, np.float64)
    return bool(np.any(mu * mu > SHIFT_RATIO * np.maximum(variance, 0.0)))
