"""Errors of figures over a layer, an output or a model: leave out one part of the samples, compute again.

Channels of a layer err together to a degree that no formula knows; leaving whole samples out needs none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.records.channel_sums import PARTS

Floats = NDArray[np.float64]


def left_out(sums: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
    """Sums over all samples but those of one part, for each part that holds any: from (PARTS, ...) to (used, ...)."""
    return np.asarray(sums.sum(0) - sums[counts > 0])


def jackknife(whole: Floats, without: Floats, counts: NDArray[Any]) -> Floats:
    """Standard errors (K,) of K figures: `whole` (K,) of all samples, `without` (used, K) with one part left out.

    The delete-m_j jackknife for parts of unequal size `counts` (Busing, Meijer and van der Leeden 1999, equation 2.9;
    with equal ones the usual formula, Shao and Tu 1995). Of few parts the error is itself uncertain, and is widened by
    Student's t so that two of it hold as much as with all of them. Infinite where fewer than two parts hold samples.
    """
    sizes = counts[counts > 0].astype(np.float64)
    if len(sizes) < 2:
        return np.full_like(whole, np.inf)
    share = (sizes.sum() / sizes)[:, None]
    with np.errstate(invalid="ignore", over="ignore"):
        pseudo = share * whole - (share - 1.0) * without
        centre = len(sizes) * whole - ((1.0 - 1.0 / share) * without).sum(0)
        variance = ((pseudo - centre) ** 2 / (share - 1.0)).mean(0)
    return np.asarray(np.sqrt(variance) * _widening(len(sizes)))


def _widening(parts: int) -> float:
    """How much further 2 sigma reach with parts - 1 degrees of freedom than with those of all parts."""
    return _student(parts - 1) / _student(PARTS - 1)


def _student(freedom: int) -> float:
    """The 97.7 % quantile of Student's t, that of 2 sigma: to 2 % from 3 on (Abramowitz and Stegun 26.7.5)."""
    return 2.0 + 10.0 / (4 * freedom) + 294.0 / (96 * freedom**2) + 1098.0 / (384 * freedom**3)
