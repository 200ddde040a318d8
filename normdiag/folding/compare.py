"""How far two arrays that should be equal are apart, and the worst of many such comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from normdiag.records.model import Array


@dataclass(frozen=True)
class Difference:
    """`largest` is max|after - before|, `scale` max|before|, `tiny` below what numbers of that dtype lose digits.

    `largest` is infinite where the shapes differ, or where only `after` has NaN or an infinity at some place. `lost`:
    only `before` has one at some place, as where the original overflows and the folded model does not. `values` counts
    the places that are finite in both, `size` all: what is NaN or empty in both differs by nothing and shows nothing.
    """

    largest: float
    scale: float
    tiny: float = 0.0
    lost: bool = False
    values: int = 0
    size: int = 0

    @property
    def relative(self) -> float:
        """max|after - before| / max|before|; 0 where nothing differs."""
        if self.largest == 0:
            return 0.0
        scale = max(self.scale, self.tiny)
        return self.largest / scale if scale > 0 else math.inf


def is_floating(array: Array) -> bool:
    """Whether rounding can be seen in it: numpy's floats and those of ml_dtypes, and complex numbers."""
    return array.dtype.kind in "fc" or "float" in array.dtype.name


def difference(before: Array, after: Array) -> Difference:
    """Compare two floating arrays element by element. Equal infinities and NaN at the same place are no difference."""
    tiny = _tiny(before)
    if before.shape != after.shape:
        return Difference(math.inf, _largest(before), tiny)
    a, b = _comparable(before, after)
    with np.errstate(all="ignore"):
        scale, gap = _largest(a), _largest(b - a)
        if math.isfinite(scale) and math.isfinite(gap):
            return Difference(gap, scale, tiny, values=a.size, size=a.size)
        return _not_finite(a, b, tiny)


def mismatch(before: Array, after: Array) -> Difference:
    """Compare two arrays of integers or booleans: the share of elements that differ."""
    if before.shape != after.shape:
        return Difference(math.inf, 1.0)
    share = float(np.mean(before != after)) if before.size else 0.0
    return Difference(share, 1.0, values=before.size, size=before.size)


def worst(differences: Iterable[Difference]) -> Difference:
    """Of comparisons that share one scale: the largest difference and the largest value of all, and what was seen."""
    listed = list(differences)
    return Difference(
        max(each.largest for each in listed),
        max(each.scale for each in listed),
        max(each.tiny for each in listed),
        any(each.lost for each in listed),
        sum(each.values for each in listed),
        sum(each.size for each in listed),
    )


def _not_finite(a: Array, b: Array, tiny: float) -> Difference:
    here, there = np.isfinite(a), np.isfinite(b)
    both = here & there
    scale = _largest(a[both])
    gap = _largest(b[both].astype(np.float64) - a[both]) if both.any() else 0.0
    same = both | (a == b) | (np.isnan(a) & np.isnan(b))
    lost = bool((~same & ~here).any())
    gained = bool((~same & here).any())
    return Difference(math.inf if gained else gap, scale, tiny, lost, int(both.sum()), a.size)


def _comparable(a: Array, b: Array) -> tuple[Array, Array]:
    """In a dtype whose own rounding cannot matter: the difference of two near numbers is exact."""
    wide = np.result_type(*(np.float32 if x.dtype.itemsize < 4 else x.dtype for x in (a, b)))
    return a.astype(wide, copy=False), b.astype(wide, copy=False)


def _largest(array: Array) -> float:
    """max|x|, NaN where one is NaN; 0 for an empty array."""
    if not array.size:
        return 0.0
    if array.dtype.kind == "c":
        return float(np.abs(array).max())
    return max(float(array.max()), -float(array.min()))


def _tiny(array: Array) -> float:
    """The smallest normal number of the array's dtype."""
    if array.dtype.kind not in "fc":
        return float(np.finfo(np.float32).tiny)
    return float(np.finfo(array.dtype).tiny)
