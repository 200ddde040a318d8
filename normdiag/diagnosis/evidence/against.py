"""What a reference says of the data: whether it is like that of the reference, and where it first is not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from normdiag.diagnosis.evidence.seen import LEAST, Seen

if TYPE_CHECKING:
    from normdiag.records.reference import PointDrift, ReferenceComparison

# Of log(observed / reference deviation) at the input over the channels: a spread below this is one factor for all.
ONE_FACTOR = 0.05


@dataclass(frozen=True, eq=False)
class Against:
    """A run beside a reference; `moved` are the points that rules report, in the order of the network."""

    found: ReferenceComparison
    moved: tuple[PointDrift, ...]

    @property
    def alike(self) -> bool:
        """Whether the data is like that of the reference at every point, so that it is not to blame."""
        return bool(self.found.points) and all(each.drift.lower <= LEAST for each in self.found.points)

    @property
    def input(self) -> PointDrift | None:
        """The input that moved most; None where none did."""
        inputs = [each for each in self.moved if each.point.role == "input"]
        return max(inputs, key=lambda each: each.drift.lower, default=None)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the points that moved, the first in front."""
        return tuple(dict.fromkeys(each.point.name for each in self.moved))

    @property
    def most(self) -> PointDrift:
        """The point that moved most."""
        return max(self.moved, key=lambda each: each.drift.lower)


def against(seen: Seen) -> Against | None:
    """The evidence of a reference; None without one."""
    found = seen.report.reference
    if found is None:
        return None
    named = {name for finding in seen.report.findings if finding.rule == "ND309" for name in finding.layers}
    return Against(found, tuple(each for each in found.points if each.point.name in named))


def factor(point: PointDrift) -> float | None:
    """By how much all channels are more widely spread than in the reference, alike; None where they are not alike."""
    with np.errstate(all="ignore"):
        logs = np.log(point.drift.r)
    logs = logs[np.isfinite(logs)]
    if not logs.size or np.ptp(logs) > ONE_FACTOR or abs(np.median(logs)) < 2 * ONE_FACTOR:
        return None
    return math.exp(float(np.median(logs)))
