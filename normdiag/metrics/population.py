"""Population statistics of a layer from its five sums, as PyTorch stores them, and how exact they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.metrics.moments import Moments, moments
from normdiag.records import NormKind
from normdiag.records.recalibration import PopulationSums

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Population:
    """Mean and variance of each channel, float64 (C,), and the expected `error` of the layer with them.

    The error is the root of the mean of se_z^2 + se_r^2 over the channels, in standard deviations of the input:
    infinite with a single sample.
    """

    mean: Floats
    var: Floats
    error: float


def population(seen: PopulationSums, shift: NDArray[Any], kind: NormKind, eps: float) -> Population:
    """The statistics of all samples, weighted by samples, from sums about `shift` (C,).

    The variance is unbiased, V m/(m - 1) with m the number of values per channel, as PyTorch stores it. That of an
    InstanceNorm is the mean over samples of the variance within each, which is what its training averages
    (torch.nn.functional.instance_norm).
    """
    observed, count = moments(seen.sums), seen.sums.count
    size = float(seen.elements)
    var = observed.var
    if kind == "instance_norm":
        between = observed.cov_mm * (count - 1) / count if count > 1 else np.zeros_like(var)
        var, size = np.maximum(var - between, 0.0), size / count
    return Population(
        mean=np.asarray(shift, np.float64) + observed.shift,
        var=var * (size / (size - 1.0)) if size > 1.0 else var,
        error=_error(observed, count, eps),
    )


def _error(observed: Moments, count: int, eps: float) -> float:
    """RMS over the channels of the error of z and r, by the delta method, where the statistics are those observed.

    The variances of M and V are those of one sample over the number of samples; dz = dM/s, dr = dV / (2 s^2).
    """
    if count < 2:
        return math.inf
    shift, square = observed.shift, observed.var + eps
    with np.errstate(all="ignore"):
        of_var = observed.cov_qq - 4.0 * shift * observed.cov_mq + 4.0 * shift**2 * observed.cov_mm
        variance = (observed.cov_mm / square + np.maximum(of_var, 0.0) / (4.0 * square**2)) / count
        return math.sqrt(float(np.mean(variance)))


def blended(stored: NDArray[Any], measured: Floats, keep: float) -> Floats:
    """keep * stored + (1 - keep) * measured, for means and variances alike (Schneider et al. 2020, eq. 3)."""
    return measured if keep == 0.0 else keep * np.asarray(stored, np.float64) + (1.0 - keep) * measured


def kept_share(pseudo_count: float, samples: int) -> float:
    """The share of stored statistics that count as much as `pseudo_count` samples beside `samples` measured ones."""
    return pseudo_count / (pseudo_count + samples)


def samples_needed(error: float, samples: int, tolerance: float) -> int:
    """How many samples bring an error found with `samples` down to `tolerance`: it falls with their square root."""
    return math.ceil(samples * (error / tolerance) ** 2)


def statistics_drift(mean: NDArray[Any], var: NDArray[Any], other: Population, eps: float) -> float:
    """RMS over the channels of the drift of one pair of statistics from another: d as for observed ones."""
    s = np.sqrt(np.asarray(var, np.float64) + eps)
    z, r = (other.mean - np.asarray(mean, np.float64)) / s, np.sqrt(other.var + eps) / s
    return math.sqrt(float(np.mean(z**2 + (r - 1.0) ** 2)))
