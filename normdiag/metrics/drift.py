"""Drift of a layer from its sums, with error bars."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.metrics.jackknife import jackknife, left_out
from normdiag.metrics.moments import Moments, moments, sample_covariance
from normdiag.metrics.ratios import RatioErrors, drift_of, layer_figures, ratio_errors
from normdiag.records import ChannelSums, Drift
from normdiag.records.channel_sums import PARTS

Floats = NDArray[np.float64]
# Batches from which on they are left out in turn: of fewer the error would be mostly chance.
ENOUGH = 4


def observed_statistics(sums: ChannelSums, mean: NDArray[Any]) -> tuple[Floats, Floats]:
    """Mean and biased variance (C,) of the data in float64, from sums shifted by the stored `mean` (C,)."""
    observed = moments(sums)
    return np.asarray(mean, np.float64) + observed.shift, observed.var


def measure_drift(sums: ChannelSums, var: NDArray[Any], eps: float, *, batched: bool = False) -> Drift:
    """Drift of C channels against the stored variance `var` (C,) and `eps`.

    z = M/s, r = sqrt(V + eps)/s with s = sqrt(var + eps), d = sqrt(z^2 + (r - 1)^2); the standard errors come from the
    delta method on the covariance of (m, q) over samples, which are the independent unit:
    dz = dM/s and dr = (dQ - 2 M dM) / (2 s^2 r). Those over the layer are jackknifed. `batched`: the sums are of pass
    B, where samples of one batch are not independent: the layers before have taken away what they have in common.
    Where s is not a positive finite number, the channel is NaN, and so is the layer.
    """
    observed = moments(sums)
    with np.errstate(all="ignore"):
        s = np.sqrt(np.asarray(var, np.float64) + eps)
        s = np.where(s > 0, s, np.nan)
        z, r = observed.shift / s, np.sqrt(observed.var + eps) / s
        single = ratio_errors(observed, s, r) if sums.count > 1 else _unknown(s)
        shared = _batch_errors(sums, s, r) if sums.batches > 1 else None
        kept = _kept(single, shared) if batched and shared is not None else (1.0, 1.0)
        error = single.over(sums.count).scaled(*kept)
        parts = _parts(sums)
        without = _without(parts, s, eps, (z, r), kept if parts.by_sample else (1.0, 1.0))
        drift = _over_layer(parts, z, r, error, without)
        if shared is None:
            return replace(drift, square_se=float(np.hypot(drift.square_se, np.mean(drift.floor**2) if batched else 0)))
        return replace(drift, batch_spread=float(np.sqrt(np.mean(shared.var_z + shared.var_r))))


def batch_noise(drift: Drift, batch_size: int) -> float | None:
    """RMS difference, in stored standard deviations, that statistics of `batch_size` samples show by chance.

    It is measured on the batches seen, in which every BatchNorm normalized with its batch, and scaled with 1/sqrt(b):
    what the variance over samples would give, Var(m)/b, is up to three times too much after other layers, which have
    taken the batch's shift away. None where a single batch was seen.
    """
    return None if drift.batch_spread is None else drift.batch_spread / float(np.sqrt(batch_size))


def _unknown(s: Floats) -> RatioErrors:
    return RatioErrors(np.full_like(s, np.inf), np.full_like(s, np.inf), np.zeros_like(s))


def _batch_errors(sums: ChannelSums, s: Floats, r: Floats) -> RatioErrors:
    """Variances of z and r in batches of one sample, from how far the batches seen differ."""
    n = sums.count
    m, q = sums.m / n, sums.q / n
    cov = sample_covariance(n, sums.batches, m, q, sums.between)
    return ratio_errors(Moments(m, q - m * m, *cov), s, r)


def _kept(single: RatioErrors, shared: RatioErrors) -> tuple[float, float]:
    """How much of the errors of z and of r that samples would have alone is left in batches, over the layer."""
    z, r = np.mean(shared.var_z) / np.mean(single.var_z), np.mean(shared.var_r) / np.mean(single.var_r)
    return float(np.sqrt(z)) if np.isfinite(z) else 1.0, float(np.sqrt(r)) if np.isfinite(r) else 1.0


@dataclass(frozen=True, eq=False)
class _Parts:
    """The samples in parts that are left out in turn: sums of m and q (2, P, C), and how many each holds (P,)."""

    first: Floats
    counts: NDArray[np.int64]
    by_sample: bool


def _parts(sums: ChannelSums) -> _Parts:
    """By batch where samples were normalized together and there are batches enough, else by sample."""
    batches = sums.counts[PARTS:]
    if np.count_nonzero(batches) >= ENOUGH:
        return _Parts(sums.first[:, PARTS:], batches, False)
    return _Parts(sums.first[:, :PARTS], sums.counts[:PARTS], True)


def _without(
    parts: _Parts, s: Floats, eps: float, whole: tuple[Floats, Floats], kept: tuple[float, float]
) -> tuple[Floats, Floats]:
    """z and r (K, C) without one part of the samples each; of what that changes, as much as is `kept` in batches."""
    counts = parts.counts.sum() - parts.counts[parts.counts > 0].astype(np.float64)
    m, q = (left_out(each, parts.counts) / counts[:, None] for each in parts.first)
    ratios = m / s, np.sqrt(np.maximum(q - m * m, 0.0) + eps) / s
    z, r = (all_ + share * (part - all_) for all_, part, share in zip(whole, ratios, kept, strict=True))
    return z, r


def _over_layer(parts: _Parts, z: Floats, r: Floats, error: RatioErrors, without: tuple[Floats, Floats]) -> Drift:
    """The drift record: what holds for each channel, and the figures over all of them with jackknifed errors."""
    count = int(parts.counts.sum())
    fewer = count / (count - parts.counts[parts.counts > 0])
    noise = np.array([np.mean(error.var_z)]), np.array([np.mean(error.var_r)])
    figures = layer_figures(z, r, *noise)[0]
    errors = jackknife(figures, layer_figures(*without, *(fewer * each for each in noise)), parts.counts)
    return drift_of(count, z, r, error, figures, errors)
