"""Drift of a layer from its five sums, with error bars (DESIGN, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.records import ChannelSums, Drift

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
    """M = sum(m)/N, V = sum(q)/N - M^2 and the sample covariance of (m, q) from the five sums."""
    n = sums.count
    m, q = sums.m / n, sums.q / n
    if n < 2:
        unknown = np.full_like(m, np.inf)
        return Moments(m, np.maximum(q - m * m, 0.0), unknown, unknown, unknown)
    scale = n / (n - 1)
    return Moments(
        shift=m,
        var=np.maximum(q - m * m, 0.0),
        cov_mm=np.maximum(scale * (sums.mm / n - m * m), 0.0),
        cov_qq=np.maximum(scale * (sums.qq / n - q * q), 0.0),
        cov_mq=scale * (sums.mq / n - m * q),
    )


def observed_statistics(sums: ChannelSums, mean: NDArray[Any]) -> tuple[Floats, Floats]:
    """Mean and biased variance (C,) of the data in float64, from sums shifted by the stored `mean` (C,)."""
    observed = moments(sums)
    return np.asarray(mean, np.float64) + observed.shift, observed.var


def measure_drift(sums: ChannelSums, var: NDArray[Any], eps: float) -> Drift:
    """Drift of C channels against the stored variance `var` (C,) and `eps`.

    z = M/s, r = sqrt(V + eps)/s with s = sqrt(var + eps), d = sqrt(z^2 + (r - 1)^2); the standard errors come from the
    delta method on the covariance of (m, q) over samples, which are the independent unit:
    dz = dM/s and dr = (dQ - 2 M dM) / (2 s^2 r).
    Where s is not a positive finite number, the channel is NaN, and so is the layer.
    """
    observed = moments(sums)
    with np.errstate(all="ignore"):
        s = np.sqrt(np.asarray(var, np.float64) + eps)
        s = np.where(s > 0, s, np.nan)
        z, r = observed.shift / s, np.sqrt(observed.var + eps) / s
        d = np.hypot(z, r - 1.0)
        var_z, var_r, cov_zr = _delta(observed, s, r, sums.count)
        se_d = np.sqrt(np.maximum(_directional(z, r, d, var_z, var_r, cov_zr), 0.0))
    return _over_layer(sums.count, z, r, d, np.sqrt(var_z), np.sqrt(var_r), se_d)


def batch_noise(drift: Drift, batch_size: int) -> float:
    """Expected RMS difference, in stored standard deviations, that statistics of `batch_size` samples add by chance.

    The variance of a mean over b samples is Var(m)/b, so the squared standard errors over N samples scale by N/b.
    """
    return float(np.sqrt(np.mean(drift.floor**2) * drift.samples / batch_size))


def _delta(observed: Moments, s: Floats, r: Floats, count: int) -> tuple[Floats, Floats, Floats]:
    """Variances of z and r and their covariance, each (C,); infinite with one sample."""
    if count < 2:
        unknown = np.full_like(s, np.inf)
        return unknown, unknown, np.zeros_like(s)
    shift = observed.shift
    cov_vm = observed.cov_mq - 2.0 * shift * observed.cov_mm
    var_v = observed.cov_qq - 4.0 * shift * observed.cov_mq + 4.0 * shift**2 * observed.cov_mm
    slope = np.where(r > 0, 1.0 / (2.0 * s * s * np.where(r > 0, r, 1.0)), 0.0)
    var_r = np.maximum(var_v, 0.0) * slope**2 / count
    return observed.cov_mm / (s * s) / count, var_r, cov_vm * slope / s / count


def _directional(z: Floats, r: Floats, d: Floats, var_z: Floats, var_r: Floats, cov_zr: Floats) -> Floats:
    """Variance of d: that of (z, r) along the direction of the drift. Without a direction, the larger of the two."""
    still = d == 0
    length = np.where(still, 1.0, d)
    u, w = z / length, (r - 1.0) / length
    along = u * u * var_z + w * w * var_r + 2.0 * u * w * cov_zr
    along = np.where(np.isinf(var_z), np.inf, along)
    return np.where(still, np.maximum(var_z, var_r), along)


def _over_layer(count: int, z: Floats, r: Floats, d: Floats, se_z: Floats, se_r: Floats, se_d: Floats) -> Drift:
    floor = np.hypot(se_z, se_r)
    rms = float(np.sqrt(np.mean(d * d)))
    spread = float(np.mean(d * se_d) / rms) if rms > 0 else float(np.sqrt(np.mean(se_d * se_d)))
    excess = float(np.mean(d * d - floor * floor))
    corrected = float(np.sqrt(max(excess, 0.0))) if np.isfinite(excess) else (rms if np.isnan(rms) else 0.0)
    return Drift(count, z, r, d, se_z, se_r, se_d, floor, rms, spread, corrected)
