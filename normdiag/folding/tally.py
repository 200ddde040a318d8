"""What the runs of a verification found, by kind of comparison, group of inputs and tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from normdiag.errors import InputError
from normdiag.folding.backend import Evaluator
from normdiag.folding.bound import Depth, accepted, proves_nothing
from normdiag.folding.compare import Difference, difference, is_floating, mismatch, worst
from normdiag.folding.feeds import FoldTrial
from normdiag.records import Batch
from normdiag.records.model import Array

Values = Mapping[str, Array]
# 'output', 'integer' and 'point': folded against original. 'own': original against float64, 'exact': folded against
# float64. 'response': the original against itself on an input that differs in the last bit.
Kind = Literal["output", "integer", "point", "own", "exact", "response"]
Kept = Mapping[Kind, Mapping[str, Difference]]
COMPARED: tuple[Kind, ...] = ("output", "point")
MISSING = Difference(math.inf, 1.0)


@dataclass(frozen=True)
class TallyRow:
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

    `overflows` counts runs that were left out since the original overflowed in them; `strict` leaves none out. `noise`
    has for each tensor that was left out of runs, since the original itself is in rounding noise there, how far
    rounding moved it at most, and `noisy` counts these runs.
    """

    strict: bool
    overflows: int = 0
    noisy: int = 0
    noise: dict[str, float] = field(default_factory=dict)
    found: dict[tuple[Kind, str], dict[str, Difference]] = field(default_factory=dict)

    def add(self, kind: Kind, group: str, differences: Mapping[str, Difference]) -> None:
        """Take in the differences of one run by tensor."""
        known = self.found.setdefault((kind, group), {})
        for tensor, each in differences.items():
            known[tensor] = worst((known[tensor], each)) if tensor in known else each

    def of(self, kind: Kind, group: str) -> Mapping[str, Difference]:
        """What was found of a kind in a group, by tensor."""
        return self.found.get((kind, group), {})

    def all(self, kind: Kind) -> Iterator[tuple[str, Difference]]:
        """Tensor and difference of everything of a kind."""
        return ((tensor, each) for (k, _), known in self.found.items() if k == kind for tensor, each in known.items())

    def seen(self, kind: Kind) -> Mapping[str, tuple[int, int]]:
        """By tensor, in all groups: how many values were finite and compared, and how many there were."""
        counts: dict[str, tuple[int, int]] = {}
        for tensor, each in self.all(kind):
            values, size = counts.get(tensor, (0, 0))
            counts[tensor] = values + each.values, size + each.size
        return counts

    def largest(self, kind: Kind, depths: Mapping[str, Depth]) -> float | None:
        """The worst relative difference of a kind in these groups, without tensors that are unsteady in a group.

        None where nothing else was compared.
        """
        relative = ((self._relative(kind, group), self.unsteady(group, depth)) for group, depth in depths.items())
        return max(
            (each for errors, unsteady in relative for t, each in errors.items() if t not in unsteady), default=None
        )

    def most_unsteady(self, depths: Mapping[str, Depth]) -> float:
        """How far rounding moved the original at most, where that is too far for anything to be seen; else 0."""
        found = (each for group, depth in depths.items() for each in self.unsteady(group, depth).values())
        return max((*found, *self.noise.values()), default=0.0)

    def rows(self, kind: Kind, depths: Mapping[str, Depth]) -> list[TallyRow]:
        """Every tensor of a kind in these groups with its bound, worst first."""
        rows = [row for group, depth in depths.items() for row in self._rows(kind, group, depth)]
        return sorted(rows, key=lambda row: row.excess, reverse=True)

    def exceeds(self, group: str, depth: Depth) -> bool:
        """Whether an output or point of a group differs by more than what is known so far to be rounding."""
        return bool(self.exceeding(group, depth))

    def exceeding(self, group: str, depth: Depth) -> list[str]:
        """The outputs and points of a group that do."""
        rows = (row for kind in COMPARED for row in self._rows(kind, group, depth))
        return [row.tensor for row in rows if row.error > row.bound]

    def unsteady(self, group: str, depth: Depth) -> Mapping[str, float]:
        """The tensors of a group that rounding moves too far for anything to be seen there, and how far."""
        own, response = self._relative("own", group), self._relative("response", group)
        moved = {t: max(own.get(t, 0.0), response.get(t, 0.0)) for t in {*own, *response}}
        return {t: each for t, each in moved.items() if proves_nothing(each, depth.roundoff, measured=t in own)}

    def groups(self) -> tuple[str, ...]:
        """The groups in which anything was compared, in order."""
        return tuple(dict.fromkeys(group for kind, group in self.found if kind in ("output", "integer", "point")))

    def kept(self, group: str) -> Kept:
        """All that was found in a group so far, to be put back by `leave_out`."""
        return {kind: dict(known) for (kind, each), known in self.found.items() if each == group}

    def leave_out(self, group: str, kept: Kept, tensors: Mapping[str, float]) -> None:
        """Take back what was found of some tensors since then; `tensors` says how far rounding moved them."""
        self.noisy += 1
        for tensor, moved in tensors.items():
            self.noise[tensor] = max(moved, self.noise.get(tensor, 0.0))
            for kind in {kind for kind, each in self.found if each == group}:
                known, before = self.found[kind, group], kept.get(kind, {})
                if tensor in before:
                    known[tensor] = before[tensor]
                else:
                    known.pop(tensor, None)

    def _rows(self, kind: Kind, group: str, depth: Depth) -> Iterator[TallyRow]:
        own, response = self._relative("own", group), self._relative("response", group)
        most = max(own.values(), default=None)  # for tensors that float64 does not show
        for tensor, each in self.of(kind, group).items():
            bound = accepted(
                depth.of(tensor), depth.roundoff, own=own.get(tensor, most), response=response.get(tensor, 0.0)
            )
            yield TallyRow(group, tensor, each.relative, bound)

    def _relative(self, kind: Kind, group: str) -> dict[str, float]:
        """The relative differences by tensor, on the scales on which folded and original are compared."""
        scales = {t: each.scale for compared in COMPARED for t, each in self.of(compared, group).items()}
        known = self.of(kind, group)
        return {t: replace(each, scale=scales.get(t, each.scale)).relative for t, each in known.items()}


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


def ran(evaluator: Evaluator, trial: FoldTrial) -> Values | None:
    """What the original gives, or None where it cannot run on an optional trial. Raises InputError for any other."""
    try:
        return evaluator.run(trial.batch)
    except InputError:
        if trial.optional:
            return None
        raise


def of_folded(evaluator: Evaluator, batch: Batch) -> Values:
    """What the folded model gives where the original ran. Raises InputError saying so where it fails."""
    try:
        return evaluator.run(batch)
    except InputError as error:
        raise InputError(f"the folded model does not run on inputs that the original runs on: {error}") from error


def floating(before: Values, after: Values, names: Iterable[str]) -> dict[str, Difference]:
    """The differences of the floating tensors among `names`; infinite where `after` lacks one."""
    listed = [name for name in names if name in before and is_floating(before[name])]
    return {name: difference(before[name], after[name]) if name in after else MISSING for name in listed}


def _shares(before: Values, after: Values, names: Iterable[str]) -> dict[str, Difference]:
    """The shares of elements that differ in the integer and boolean tensors."""
    listed = [name for name in names if name in before and not is_floating(before[name])]
    return {name: mismatch(before[name], after[name]) if name in after else MISSING for name in listed}
