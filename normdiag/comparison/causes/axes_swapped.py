"""axes_swapped: the right values in the wrong places."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from normdiag.comparison.causes.evidence import PartingEvidence, distance
from normdiag.records.diff import PartingCause
from normdiag.records.model import Array

SAME = 1e-3
MOST_AXES = 5


def axes_swapped(seen: PartingEvidence) -> PartingCause | None:
    """A transpose was lost, added, or replaced by a reshape: NCHW read as NHWC, heads and tokens exchanged.

    What goes in or comes out has the same values in each sample, and others at each place.
    """
    for where, one, two in (("goes in", seen.a.x, seen.b.x), ("comes out", seen.a.y, seen.b.y)):
        if one is None or two is None or one.size != two.size or one.shape[:1] != two.shape[:1]:
            continue
        if one.shape == two.shape and distance(one, two) <= SAME:
            continue
        if not _same_values(one, two):
            continue
        order = _order(one, two)
        told = f"B has the axes {order} of A" if order else "the values were read in another order of axes (a reshape)"
        return PartingCause(
            "axes_swapped",
            "Axes are swapped: both models have the same values here, at other places.",
            f"what {where} has equal values in every sample; {told}",
            "Look at the transpose and reshape before this layer, and at the layout of the input (NCHW or NHWC).",
        )
    return None


def _same_values(one: Array, two: Array) -> bool:
    a, b = (np.sort(each.reshape(len(each), -1), axis=1) for each in (one, two))
    return bool(a.shape[1] > 1 and np.ptp(a) > 0 and distance(a, b) <= SAME)


def _order(one: Array, two: Array) -> str | None:
    if one.ndim > MOST_AXES:
        return None
    for order in permutations(range(1, one.ndim)):
        moved = one.transpose(0, *order)
        if list(order) != sorted(order) and distance(moved, two) <= SAME:
            return str((0, *order))
    return None
