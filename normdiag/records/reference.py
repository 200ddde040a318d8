"""What a model shows against a reference: drift at every point that both have."""

from __future__ import annotations

from dataclasses import dataclass

from normdiag.records.metrics import Drift
from normdiag.records.profile import Point, ProfiledData, ProfiledModel


@dataclass(frozen=True, eq=False)
class PointDrift:
    """A point of the model with its drift against `reference`, the point of the profile that it was matched with.

    The drift is in standard deviations of the reference; its errors are those of both.
    """

    point: Point
    reference: Point
    drift: Drift


@dataclass(frozen=True, eq=False)
class ReferenceComparison:
    """A run against a profile, in the order of the model. `path` is the profile's, None for one in memory.

    `unmatched` are points of this model without a counterpart in the profile, `missing` those the other way round.
    """

    path: str | None
    model: ProfiledModel
    data: ProfiledData
    points: tuple[PointDrift, ...]
    unmatched: tuple[Point, ...] = ()
    missing: tuple[Point, ...] = ()

    def at(self, role: str) -> tuple[PointDrift, ...]:
        """The points of one role."""
        return tuple(each for each in self.points if each.point.role == role)
