"""Order statistics without numpy.quantile and numpy.median, which import numpy.ma: longer than a small model takes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def quantile(values: Floats, share: float) -> float:
    """Of finite values (N,), N > 0, the quantile: of the two values beside it, the higher."""
    return float(np.sort(values)[math.ceil(share * (values.size - 1))])


def median(values: Floats) -> float:
    """Of finite values (N,), N > 0: the one in the middle, or the mean of the two."""
    ordered, half = np.sort(values), values.size // 2
    return float(ordered[half] if values.size % 2 else np.mean(ordered[half - 1 : half + 1]))
