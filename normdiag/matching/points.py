"""Points of a model and those of a profile, perhaps of another format, paired.

What enters an activation is the same before and after an export, whether or not norms were folded. So points are
aligned in their order, by what they are; where several alignments are as long, names and then values decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from normdiag.metrics.moments import moments
from normdiag.records import Point, PointMap, PointSums

# What a pair of equal names adds to one of the same kind and channels, and equal values at most: less than a pair.
NAME, VALUES = 0.5, 0.25
# Beyond so many pairs to weigh, only names are.
MOST_PAIRS = 4_000_000


@dataclass(frozen=True)
class MatchedPoints:
    """Pairs of a model's point with the profile's, in the model's order, and what is left of either."""

    pairs: tuple[tuple[Point, Point], ...]
    here_alone: tuple[Point, ...]
    there_alone: tuple[Point, ...]


def match_points(here: PointMap, there: PointMap) -> MatchedPoints:
    """Pair the points of a model (`here`) with those of a profile (`there`)."""
    found: dict[Point, Point] = {}
    for role in ("input", "output"):
        found.update(_ends(_of(here, role), _of(there, role)))
    found.update(_inner(_of(here, "norm", "activation"), _of(there, "norm", "activation")))
    taken = set(found.values())
    return MatchedPoints(
        tuple((point, found[point]) for point in here if point in found),
        tuple(point for point in here if point not in found),
        tuple(point for point in there if point not in taken),
    )


def _of(points: PointMap, *roles: str) -> dict[Point, PointSums]:
    return {point: sums for point, sums in points.items() if point.role in roles}


def _ends(here: PointMap, there: PointMap) -> dict[Point, Point]:
    """Inputs or outputs: all by name, or else in their order, which formats keep while they change names."""
    same = {point: point for point in here if point in there}
    ordered = same if len(same) == len(here) else dict(zip(here, there, strict=False))
    return {one: two for one, two in ordered.items() if here[one].channels == there[two].channels}


def _inner(here: PointMap, there: PointMap) -> dict[Point, Point]:
    if here.keys() == there.keys() or len(here) * len(there) > MOST_PAIRS:
        pairs = {point: point for point in here if point in there}
    else:
        one, two = [_Entry(*each) for each in here.items()], [_Entry(*each) for each in there.items()]
        pairs = {one[i].point: two[j].point for i, j in _aligned(_scores(one, two))}
    left = {point: point for point in here if point in there and point not in pairs}
    pairs |= {point: point for point in left if point not in set(pairs.values())}
    return {one: two for one, two in pairs.items() if here[one].channels == there[two].channels}


@dataclass(frozen=True, eq=False)
class _Entry:
    point: Point
    sums: PointSums

    @property
    def what(self) -> tuple[str, str, int]:
        """What must agree. One norm may be another kind in another format: InstanceNorm a GroupNorm."""
        kind = self.point.kind if self.point.role == "activation" else ""
        return self.point.role, kind, self.sums.channels

    @cached_property
    def values(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and deviation of each channel."""
        seen = moments(self.sums.sums)
        return seen.shift + self.sums.shift, np.sqrt(seen.var)


def _scores(one: Sequence[_Entry], two: Sequence[_Entry]) -> NDArray[np.float64]:
    """How well each pair goes together; 0 for what does not."""
    scores = np.zeros((len(one), len(two)))
    columns: Mapping[tuple[str, str, int], list[int]] = {
        what: [j for j, each in enumerate(two) if each.what == what] for what in {each.what for each in two}
    }
    for i, entry in enumerate(one):
        for j in columns.get(entry.what, ()):
            named = NAME if entry.point.name == two[j].point.name else 0.0
            scores[i, j] = 1.0 + named + VALUES * _likeness(entry, two[j])
    return scores


def _likeness(one: _Entry, two: _Entry) -> float:
    """1 for equal means and deviations over the channels, and less the more they differ."""
    (mean, deviation), (other, spread) = one.values, two.values
    with np.errstate(all="ignore"):
        scale = np.sqrt(np.mean(spread**2))
        distance = np.sqrt(np.mean((mean - other) ** 2 + (deviation - spread) ** 2)) / scale
    return float(np.exp(-distance)) if np.isfinite(distance) else 0.0


def _aligned(scores: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The pairs, in order on both sides, with the largest sum of scores (Needleman and Wunsch 1970)."""
    rows, columns = scores.shape
    best = np.zeros((rows + 1, columns + 1))
    for i in range(rows):
        taken = np.where(scores[i] > 0, best[i, :-1] + scores[i], 0.0)
        best[i + 1, 1:] = np.maximum.accumulate(np.maximum(best[i, 1:], taken))
    pairs, i, j = [], rows, columns
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]
