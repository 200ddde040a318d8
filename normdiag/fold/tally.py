"""What the runs of a proof found, by kind of comparison, group of inputs and tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from normdiag.fold.bound import Depth, accepted
from normdiag.fold.compare import Difference, difference, is_floating, mismatch, worst
from normdiag.records.model import Array

Values = Mapping[str, Array]
# 'output', 'integer' and 'point': folded against original. 'own': original against float64, 'exact': folded against
# float64. 'response': the original against itself on an input that differs in the last bit.
Kind = Literal["output", "integer", "point", "own", "exact", "response"]
MISSING = Difference(math.inf, 1.0)


@dataclass(frozen=True)
class Row:
    """One tensor in one group of inputs: its error, and what rounding can explain of it."""

    group: str
    tensor: str
    error: float
    bound: float

    @property
    def excess(self) -> float:
        """Error over bound; 0 where there is no error."""
        return self.error / self.bound if self.error else 0.0


@dataclass
class Tally:
    """Collects differences. Those of one kind, group and tensor share one scale, the largest value in all of them.

    `overflows` counts runs that were left out since the original overflowed in them; `strict` leaves none out.
    """

    strict: bool
    overflows: int = 0
    found: dict[tuple[Kind, str, str], Difference] = field(default_factory=dict)

    def add(self, kind: Kind, group: str, differences: Mapping[str, Difference]) -> None:
        """Take in the differences of one run by tensor."""
        for tensor, each in differences.items():
            key = (kind, group, tensor)
            self.found[key] = worst((self.found[key], each)) if key in self.found else each

    def of(self, kind: Kind) -> Iterator[tuple[str, str, Difference]]:
        """Group, tensor and difference of everything of a kind."""
        return ((group, tensor, each) for (k, group, tensor), each in self.found.items() if k == kind)

    def largest(self, kind: Kind) -> float | None:
        """The worst relative difference of a kind; None where nothing was compared."""
        return max((self._scaled(kind, group, tensor) for group, tensor, _ in self.of(kind)), default=None)

    def rows(self, kind: Kind, depths: Mapping[str, Depth]) -> list[Row]:
        """Every tensor of a kind with its bound, worst first."""
        rows = [Row(g, t, each.relative, self._bound(g, t, depths[g])) for g, t, each in self.of(kind)]
        return sorted(rows, key=lambda row: row.excess, reverse=True)

    def _bound(self, group: str, tensor: str, depth: Depth) -> float:
        known = [t for g, t, _ in self.of("own") if g == group]
        measured = [tensor] if tensor in known else known
        own = max((self._scaled("own", group, each) for each in measured), default=None)
        return accepted(depth.of(tensor), depth.roundoff, own=own, response=self._scaled("response", group, tensor))

    def _scaled(self, kind: Kind, group: str, tensor: str) -> float:
        """The relative difference, on the scale that folded and original are compared on; 0 where there is none."""
        each = self.found.get((kind, group, tensor))
        if each is None:
            return 0.0
        shared = [self.found.get(("output", group, tensor)), self.found.get(("point", group, tensor))]
        scales = [other.scale for other in shared if other]
        return replace(each, scale=max(scales)).relative if scales else each.relative


def add_outputs(tally: Tally, group: str, before: Values, after: Values, names: Iterable[str]) -> bool:
    """Compare the outputs of one run; False where it was left out.

    Where the original alone gives NaN or an infinity it has overflowed, and made-up inputs then say nothing: they are
    left out. On the user's own data it is a difference.
    """
    listed = list(names)
    found = floating(before, after, listed)
    if any(each.lost for each in found.values()):
        if not tally.strict:
            tally.overflows += 1
            return False
        found = {name: replace(each, largest=math.inf) if each.lost else each for name, each in found.items()}
    tally.add("output", group, found)
    tally.add("integer", group, _shares(before, after, listed))
    return True


def floating(before: Values, after: Values, names: Iterable[str]) -> dict[str, Difference]:
    """The differences of the floating tensors among `names`; infinite where `after` lacks one."""
    listed = [name for name in names if name in before and is_floating(before[name])]
    return {name: difference(before[name], after[name]) if name in after else MISSING for name in listed}


def _shares(before: Values, after: Values, names: Iterable[str]) -> dict[str, Difference]:
    """The shares of elements that differ in the integer and boolean tensors."""
    listed = [name for name in names if name in before and not is_floating(before[name])]
    return {name: mismatch(before[name], after[name]) if name in after else MISSING for name in listed}
