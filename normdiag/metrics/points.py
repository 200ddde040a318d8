"""Figures of a point, for people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from normdiag.metrics.moments import moments
from normdiag.records import PointSums


@dataclass(frozen=True)
class PointFigures:
    """Over the channels of a point: the mean, the RMS deviation, and how well means are known.

    `known_to` is the RMS over the channels of the standard error of the mean, in deviations; infinite with one sample.
    """

    mean: float
    deviation: float
    known_to: float


def point_figures(sums: PointSums) -> PointFigures:
    """The figures of one point."""
    seen = moments(sums.sums)
    with np.errstate(all="ignore"):
        deviation = float(np.sqrt(np.mean(seen.var)))
        error = float(np.sqrt(np.mean(seen.cov_mm) / sums.count))
        known = error / deviation if deviation > 0 else 0.0 if error == 0 else float("nan")
    return PointFigures(float(np.mean(seen.shift + sums.shift)), deviation, known)
