"""A run beside a reference: the profile that `--reference` names, and drift against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from normdiag.errors import InputError, UsageError
from normdiag.matching.points import match_points
from normdiag.metrics.reference import drift_between
from normdiag.models.sniff import is_profile, sniff
from normdiag.observe.protocol import Runner
from normdiag.profiles import read_profile
from normdiag.records import Batch, Model, PointMap, Profile, Report
from normdiag.records.reference import PointDrift, ReferenceComparison
from normdiag.wording import abridged


class Reference(Protocol):
    """What a run is held against."""

    def watch(self, runner: Runner) -> Callable[[Batch], PointMap]:
        """What sums up, of one batch, the points that are compared."""

    def applied(self, report: Report, seen: PointMap) -> Report:
        """The report with what the sums of all batches say beside the reference."""

    def without(self, model: Model) -> Model:
        """The model without what the reference makes up for."""


@dataclass(frozen=True, eq=False)
class ProfileReference:
    """A profile, and the file that it came from."""

    path: str | None
    profile: Profile

    def watch(self, runner: Runner) -> Callable[[Batch], PointMap]:
        """All points of the model."""
        return runner.points

    def applied(self, report: Report, seen: PointMap) -> Report:
        """The report with the drift at every point that both have."""
        return replace(report, reference=compared(seen, self))

    def without(self, model: Model) -> Model:
        """The model."""
        return model


def open_reference(given: Profile | str | Path, model: Model) -> Reference:
    """What a user named as the reference: a profile or, of a folded export, the weights that it was made of.

    Raises InputError for a file that cannot be read or does not fit, UsageError for one that is no reference here.
    """
    if isinstance(given, Profile):
        return ProfileReference(None, given)
    path = Path(given)
    if is_profile(path) or path.suffix == ".profile" or not path.exists():
        return ProfileReference(str(given), read_profile(path))
    if _format(path) == "onnx":
        raise UsageError(f"--reference {path}: is an ONNX model; give a profile of it (normdiag profile)")
    from normdiag.commands.folded_reference import folded_reference

    return folded_reference(path, model)


def _format(path: Path) -> str:
    try:
        return sniff(path)
    except InputError as error:
        raise InputError(f"--reference: neither a profile nor weights: {error}") from None


def compared(seen: PointMap, reference: ProfileReference) -> ReferenceComparison:
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
