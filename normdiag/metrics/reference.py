"""Drift of a point from the same point of a reference, with the error bars of both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from normdiag.metrics.jackknife import jackknife, left_out
from normdiag.metrics.moments import Moments, moments
from normdiag.metrics.ratios import RatioErrors, drift_of, layer_figures, ratio_errors
from normdiag.records import Drift, PointSums

Floats = NDArray[np.float64]


def drift_between(seen: PointSums, reference: PointSums) -> Drift:
    """Drift of a point's C channels from those of a reference, in standard deviations of the reference.

    As `measure_drift`, with the reference's mean and variance in place of the stored ones. Their errors join those of
    what was seen: with s^2 the reference's variance, dz = -dmu/s - z ds^2/(2 s^2) and dr = -r ds^2/(2 s^2); over the
    point both are jackknifed in turn. A channel that hardly varies beside the others, or beside its mean, counts with
    `_least_variance` of the point.
    """
    seen = seen.about(reference.shift)
    here, there = moments(seen.sums), moments(reference.sums)
    with np.errstate(all="ignore"):
        least = _least_variance(there, reference.shift)
        s = np.sqrt(there.var + least)
        z, r = (here.shift - there.shift) / s, np.sqrt(here.var + least) / s
        own = ratio_errors(here, s, r).over(seen.count)
        other = _reference_errors(there, s, z, r).over(reference.count)
        error = own.plus(other)
        figures = layer_figures(z, r, *_noise(error))[0]
        mean, var = _without(seen)
        rows = (mean - there.shift) / s, np.sqrt(var + least) / s
        of_seen = jackknife(figures, layer_figures(*rows, *_noise(error, own, seen)), seen.counts)
        mean, var = _without(reference)
        rows = (here.shift - mean) / np.sqrt(var + least), np.sqrt((here.var + least) / (var + least))
        of_reference = jackknife(figures, layer_figures(*rows, *_noise(error, other, reference)), reference.counts)
        return drift_of(seen.count, z, r, error, figures, np.hypot(of_seen, of_reference))


def _noise(error: RatioErrors, part: RatioErrors | None = None, sums: PointSums | None = None) -> tuple[Floats, Floats]:
    """Mean variances of z and of r, (K,): of all samples, or without one part each of the `sums` that `part` is of."""
    more = np.zeros(1)
    if sums is not None:
        more = sums.counts[sums.counts > 0] / (sums.count - sums.counts[sums.counts > 0])
    part = part or error
    z, r = (np.mean(each) + more * np.mean(own) for each, own in ((error.var_z, part.var_z), (error.var_r, part.var_r)))
    return z, r


def _least_variance(there: Moments, shift: Floats) -> float:
    """What a channel's variance counts for at least: a thousandth of the point's, and rounding of its mean."""
    return float(1e-3 * np.mean(there.var) + np.mean((1e-5 * (there.shift + shift)) ** 2)) or 1e-30


def _without(sums: PointSums) -> tuple[Floats, Floats]:
    """Mean, from the shift, and variance (K, C) without one part of the samples each."""
    counts = (sums.count - sums.counts[sums.counts > 0].astype(np.float64))[:, None]
    m, q = (left_out(each, sums.counts) / counts for each in sums.first)
    return m, np.maximum(q - m * m, 0.0)


def _reference_errors(there: Moments, s: Floats, z: Floats, r: Floats) -> RatioErrors:
    """Variances of z and r for one sample of the reference, by the delta method."""
    shift = there.shift
    cov = there.cov_mq - 2.0 * shift * there.cov_mm
    var = np.maximum(there.cov_qq - 4.0 * shift * there.cov_mq + 4.0 * shift**2 * there.cov_mm, 0.0) / (4.0 * s**4)
    cross = cov / s**3
    return RatioErrors(
        np.maximum(there.cov_mm / (s * s) + z * z * var + z * cross, 0.0),
        r * r * var,
        0.5 * r * cross + z * r * var,
    )
