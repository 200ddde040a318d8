"""Observed moments of channels, with their covariance over samples, from the sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normdiag.records import ChannelSums

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Observed shift M and variance V of each channel, and the covariance of (m, q) over samples; all (C,) float64.

    `cov_mm`, `cov_qq` and `cov_mq` are unbiased (N - 1); infinite with a single sample.
    """

    shift: Floats
    var: Floats
    cov_mm: Floats
    cov_qq: Floats
    cov_mq: Floats


def moments(sums: ChannelSums) -> Moments:
    """M = sum(m)/N, V = sum(q)/N - M^2 and the sample covariance of (m, q) from the sums."""
    n = sums.count
    m, q = sums.m / n, sums.q / n
    if n < 2:
        unknown = np.full_like(m, np.inf)
        return Moments(m, np.maximum(q - m * m, 0.0), unknown, unknown, unknown)
    return Moments(m, np.maximum(q - m * m, 0.0), *sample_covariance(n, n, m, q, sums.second))


def sample_covariance(n: int, groups: int, m: Floats, q: Floats, products: Floats) -> tuple[Floats, Floats, Floats]:
    """Covariance (groups - 1) of (m, q) about means m and q, (C,) each, from sums of products (3, C) over n samples."""
    scale, (mm, qq, mq) = 1.0 / (groups - 1), products
    return (
        np.maximum(scale * (mm - n * m * m), 0.0),
        np.maximum(scale * (qq - n * q * q), 0.0),
        scale * (mq - n * m * q),
    )
