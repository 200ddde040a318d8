"""How stored statistics follow from observed ones, over the channels of a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.metrics.jackknife import jackknife, left_out
from normdiag.records import ChannelSums, Drift, NormLayer, StoredFit
from normdiag.records.channel_sums import PARTS

Floats = NDArray[np.float64]


def measure_stored_fit(layer: NormLayer, sums: ChannelSums, drift: Drift) -> StoredFit | None:
    """The share of the initial 0 and 1 in the stored statistics, from the sums and the drift of pass B.

    Least squares over the means and the standard deviations of all channels, in observed standard deviations, so that
    channels weigh the same whatever their scale. Sampling noise of the observed statistics stands on both sides of
    the regression and is taken off both (Fuller 1987, section 1.2). The standard error takes in what the mix leaves
    unexplained and, jackknifed, the choice of the samples. None where something is not finite.
    """
    if layer.running_mean is None or layer.running_var is None or layer.eps is None or sums.count < 2:
        return None
    mean, var = (np.asarray(each, np.float64) for each in (layer.running_mean, layer.running_var))
    s = np.sqrt(np.maximum(var + layer.eps, 0.0))
    with np.errstate(all="ignore"):
        noise = float(np.mean((drift.se_z / drift.r) ** 2 + (drift.se_r / drift.r) ** 2))
        offset, pull = _sides(mean, var, layer.eps, drift.z * s, np.square(drift.r * s) - layer.eps)
        figures = _share(offset, pull, noise)
        parts = sums.counts[:PARTS]
        counts = (sums.count - parts[parts > 0]).astype(np.float64)
        m, q = (left_out(each, parts) / counts[:, None] for each in sums.first[:, :PARTS])
        without = _share(*_sides(mean, var, layer.eps, m, np.maximum(q - m * m, 0.0)), noise)
        share = float(figures[0])
        scatter = np.sum((pull * (offset - share * pull)) ** 2) / np.square(np.sum(pull * pull))
        error = float(np.hypot(np.sqrt(scatter), jackknife(figures, without[:, None], parts)[0]))
        left = np.sum((offset - share * pull) ** 2) / np.sum(offset * offset)
    if not (np.isfinite(share) and np.isfinite(left)):
        return None
    observed_mean, observed_var = mean + drift.z * s, np.square(drift.r * s)
    return StoredFit(
        initial_share=share,
        initial_share_se=error,
        unexplained=float(left),
        correlation_mean=_correlation(mean, observed_mean),
        correlation_var=_correlation(_log(var + layer.eps), _log(observed_var)),
    )


def _sides(mean: Floats, var: Floats, eps: float, shift: Floats, observed: Floats) -> tuple[Floats, Floats]:
    """Stored minus observed, and initial minus observed, of means and standard deviations: (..., 2C) each.

    `shift` is observed minus stored mean, `observed` the observed variance. In observed standard deviations; those of
    standard deviations as half the difference of variances, which is linear in the share.
    """
    s2 = observed + eps
    s = np.sqrt(s2)
    offset = np.concatenate([-shift / s, (var - observed) / (2.0 * s2)], -1)
    pull = np.concatenate([-(mean + shift) / s, (1.0 - observed) / (2.0 * s2)], -1)
    return offset, pull


def _share(offset: Floats, pull: Floats, noise: float) -> Floats:
    """w of offset = w * pull for each row of (..., 2C), at least one; `noise` is in the mean square of a channel."""
    channels = offset.shape[-1] / 2
    top, bottom = (pull * offset).sum(-1) - channels * noise, (pull * pull).sum(-1) - channels * noise
    return np.atleast_1d(np.where(bottom > 0, top / bottom, np.nan))


def _log(values: NDArray[Any]) -> Floats:
    with np.errstate(all="ignore"):
        return np.asarray(np.log(values))


def _correlation(a: Floats, b: Floats) -> float | None:
    """Pearson's correlation; None with fewer than three channels, and where one does not vary or is not finite."""
    if a.size < 3 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 0 else None
