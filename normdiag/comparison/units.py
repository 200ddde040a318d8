"""How far two tensors are apart, in units that mean something: units in the last place, and shares of their size."""

from __future__ import annotations

import math

import numpy as np

from normdiag.records.diff import TensorDifference
from normdiag.records.model import Array

# Binary digits after the first, and the exponent of the smallest number, of each dtype that weights are stored in.
_DTYPES = {
    "float64": (52, -1074),
    "float32": (23, -149),
    "float16": (10, -24),
    "bfloat16": (7, -133),
    "float8_e4m3fn": (3, -9),
    "float8_e5m2": (2, -16),
}
# So many units in the last place are what converting, and computing once in that dtype, leave.
ROUNDED = 2.0


def coarser(a: str, b: str) -> str:
    """The dtype of the two with fewer digits; float32 for one that is not known."""
    known = [each if each in _DTYPES else "float32" for each in (a, b)]
    return min(known, key=lambda name: _DTYPES[name][0])


def unit_roundoff(dtype: str) -> float:
    """Half the distance from 1 to the next number."""
    return float(2.0 ** -(_DTYPES[dtype if dtype in _DTYPES else "float32"][0] + 1))


def change(a: Array, b: Array) -> TensorDifference | None:
    """How far `b` is from `a`, which has the same shape; None where they are equal to the last bit, NaN alike."""
    dtype = coarser(a.dtype.name, b.dtype.name)
    before, after = a.astype(np.float64), b.astype(np.float64)
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    if bool(same.all()):
        return None
    with np.errstate(all="ignore"):
        gap = np.where(same, 0.0, after - before)
        ulps = float(np.max(np.abs(gap) / ulp(np.maximum(np.abs(before), np.abs(after)), dtype)))
        size, moved = float(np.sqrt(np.sum(before**2))), float(np.sqrt(np.sum(gap**2)))
    relative = moved / size if size > 0 else math.inf
    ulps, relative = (math.inf if math.isnan(each) else each for each in (ulps, relative))
    return TensorDifference(relative, ulps, dtype, _is_rounding(relative, ulps, dtype))


def ulp(size: Array, dtype: str) -> Array:
    """The distance between numbers of that size in that dtype."""
    digits, smallest = _DTYPES[dtype]
    exponent = np.frexp(size)[1] - 1
    distance: Array = np.ldexp(1.0, np.maximum(exponent - digits, smallest))
    return distance


def _is_rounding(relative: float, ulps: float, dtype: str) -> bool:
    """All values within the last places, or, where some are tiny beside the rest, the whole by no more."""
    return ulps <= ROUNDED or (relative <= unit_roundoff(dtype) and ulps <= 2**10)
