"""A run beside a reference: the profile that `--reference` names, and drift against it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from normdiag.errors import InputError
from normdiag.matching.points import match_points
from normdiag.metrics.reference import drift_between
from normdiag.profiles import read_profile
from normdiag.records import PointDrift, PointMap, Profile, ReferenceComparison
from normdiag.wording import abridged


@dataclass(frozen=True, eq=False)
class Reference:
    """A profile, and the file that it came from."""

    path: str | None
    profile: Profile


def open_reference(given: Profile | str | Path) -> Reference:
    """What a user named as the reference. Raises InputError for a file that is no profile, or a damaged one."""
    if isinstance(given, Profile):
        return Reference(None, given)
    return Reference(str(given), read_profile(Path(given)))


def compared(seen: PointMap, reference: Reference) -> ReferenceComparison:
    """The points of a run against those of a reference. Raises InputError where they have none in common."""
    profile = reference.profile
    here = {point: sums for point, sums in seen.items() if sums.channels and sums.count}
    there = {point: sums for point, sums in profile.points.items() if sums.count and np.isfinite(sums.second).all()}
    matched = match_points(here, there)
    if here and not matched.pairs:
        named = reference.path or "the reference"
        raise InputError(f"{named}: no point of it ({_abridged(there)}) fits one of the model ({_abridged(here)})")
    points = tuple(PointDrift(one, two, drift_between(here[one], there[two])) for one, two in matched.pairs)
    left = tuple(point for point in profile.points if point not in there)
    missing = (*matched.there_alone, *left)
    return ReferenceComparison(reference.path, profile.model, profile.data, points, matched.here_alone, missing)


def _abridged(points: PointMap) -> str:
    return abridged([point.name for point in points]) if points else "it has none"
