"""Errors of figures over a layer, an output or a model: leave out one part of the samples, compute again.

Channels of a layer err together to a degree that no formula knows; leaving whole samples out needs none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def left_out(sums: Floats, counts: NDArray[Any]) -> Floats:
    """Sums over all samples but those of one part, for each part that holds any: from (PARTS, ...) to (used, ...)."""
    return np.asarray(sums.sum(0) - sums[counts > 0])


def jackknife(whole: Floats, without: Floats, counts: NDArray[Any]) -> Floats:
    """Standard errors (K,) of K figures: `whole` (K,) of all samples, `without` (used, K) with one part left out.

    The delete-m_j jackknife for parts of unequal size `counts` (Busing, Meijer and van der Leeden 1999, equation 2.9;
    with equal ones the usual formula, Shao and Tu 1995). Infinite where fewer than two parts hold samples.
    """
    sizes = counts[counts > 0].astype(np.float64)
    if len(sizes) < 2:
        return np.full_like(whole, np.inf)
    share = (sizes.sum() / sizes)[:, None]
    with np.errstate(invalid="ignore", over="ignore"):
        pseudo = share * whole - (share - 1.0) * without
        centre = len(sizes) * whole - ((1.0 - 1.0 / share) * without).sum(0)
        variance = ((pseudo - centre) ** 2 / (share - 1.0)).mean(0)
    return np.asarray(np.sqrt(variance))


def root(square: Floats, error: Floats) -> tuple[Floats, Floats]:
    """The roots of figures that are squares, at least 0, and their standard errors.

    The error of a root is error / (2 root); where the square is no larger than its own error, that of the root of a
    square as large: for a true 0 this is 1.04 times the real scatter.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.sqrt(np.maximum(square, 0.0))
        base = np.sqrt(np.maximum(square, error))
        return value, np.where(error == 0.0, 0.0, np.where(np.isinf(error), np.inf, error / (2.0 * base)))
