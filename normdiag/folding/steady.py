"""How far rounding alone moves the original: against itself in float64, or where that cannot run, when its input
changes in the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from normdiag.errors import InputError
from normdiag.folding.backend import Evaluator, Foldable
from normdiag.folding.feeds import FoldTrial
from normdiag.folding.probe import nudged
from normdiag.folding.tally import Tally, Values, floating

# float64 takes twice the memory of a float32 model, on top of what is there.
EXACT_BYTES = 1 << 29
REPEATED = 8


@dataclass
class Steadiness:
    """Measures `original` with `evaluator`, which has its folded points in view. float64 is made ready when needed.

    `points` are their tensors by name, with those of the folded model that hold the same values. `failed` says why
    float64 could not run, once it has been tried.
    """

    original: Foldable
    evaluator: Evaluator
    points: Mapping[str, str]
    roundoff: float
    failed: str | None = field(default=None)

    @cached_property
    def _exact(self) -> Evaluator | str:
        if self.original.size_bytes > EXACT_BYTES and not self.original.streams:
            return "the model is too large to be held in float64 as well"
        return self.original.exact(tuple(self.points))

    def measure(self, tally: Tally, trial: FoldTrial, values: Values, after: Values) -> None:
        """Add what one run tells; `values` are those of the original on it, `after` those of the folded model."""
        truth = self._truth(trial)
        if truth is not None:
            tally.add("own", trial.group, floating(values, truth, truth))
            folded = {name: after[place] for name in truth if (place := self.points.get(name, name)) in after}
            tally.add("exact", trial.group, floating(truth, folded, folded))
        else:
            respond(tally, trial, self.evaluator, values, self.roundoff)

    def measure_again(self, tally: Tally, trial: FoldTrial, values: Values) -> None:
        """Add a few more samples of rounding: where one direction carries all the error, one may be small by luck."""
        for seed in range(1, 1 + REPEATED):
            respond(tally, trial, self.evaluator, values, self.roundoff, seed)

    def _truth(self, trial: FoldTrial) -> Values | None:
        if self.failed is None and isinstance(self._exact, str):
            self.failed = self._exact
        if self.failed is not None or isinstance(self._exact, str):
            return None
        try:
            return self._exact.run(trial.batch)
        except InputError as error:
            self.failed = f"the original does not run in float64: {error}"
            return None


def respond(
    tally: Tally, trial: FoldTrial, evaluator: Evaluator, values: Values, roundoff: float, seed: int = 0
) -> None:
    """Add how far the original moves when its input changes in the last bit."""
    moved = nudged(trial.batch, roundoff, seed)
    if moved is not None:
        tally.add("response", trial.group, floating(values, evaluator.run(moved), values))
