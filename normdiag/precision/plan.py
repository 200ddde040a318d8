"""The smallest set of norms that suffices, found by running the model with fewer and fewer of them in float32."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from normdiag.precision.mixed import MixedModel, Outputs
from normdiag.records import Batch
from normdiag.records.model import Array
from normdiag.records.precision import Half, KeptNorm, PrecisionPlan

# Half precision does no harm up to twice the error of keeping every norm in float32, or 16 roundings of the format. A
# plan that is needed gets closer than that: to twice that error, or 4 roundings.
HEALTHY, HARMLESS, CLOSE = 2.0, 16.0, 4.0
ROUNDOFF = {"fp16": 2.0**-11, "bf16": 2.0**-8}
# Runs that a plan may take: as many as fit into so many seconds, and no more than this.
SECONDS, RUNS = 60.0, 128
# Seven runs say what half precision does and whether a plan of the suspects helps; they are always made.
LEAST = 7


def make_plan(model: MixedModel, batch: Batch, target: Half, suspects: Sequence[str]) -> PrecisionPlan:
    """The plan on one batch. `suspects` are the norms to keep first, the most suspect in front.

    Raises InputError where the model cannot run in half precision.
    """
    trials = _Trials(model, batch)
    everything = frozenset(model.norms)
    all_half, own, all_kept = trials.error(frozenset()), trials.error(frozenset(), own=True), trials.error(everything)
    harmless, close = (max(HEALTHY * all_kept, roundings * ROUNDOFF[target]) for roundings in (HARMLESS, CLOSE))
    limit = harmless if all_half <= harmless else close
    kept, minimal, errors = frozenset[str](), True, dict[str, float]()
    if all_half > limit and np.isfinite(all_kept):
        kept = frozenset(suspects) & everything
        if trials.error(kept) > limit:
            kept = everything
        rest = tuple(name for name in model.norms if name in kept and name not in suspects)
        blocks = [rest] * bool(rest) + [(name,) for name in reversed(suspects) if name in kept]
        kept, minimal, errors = _fewer(trials, kept, blocks, limit)
    elif all_half > limit:
        kept, minimal = everything, False
    own_matters = own > limit
    named = tuple(
        KeptNorm(name, model.nodes(name), errors.get(name), trials.own(kept - {name}) if own_matters else own)
        for name in model.norms
        if name in kept and np.isfinite(all_kept)
    )
    planned, lost = trials.error(kept), None if np.isfinite(all_kept) else model.first_lost(batch)
    return PrecisionPlan(
        named, all_half, own, planned, all_kept, limit, minimal, batch.size, len(trials.known), model.where, lost
    )


def output_error(exact: Outputs, made: Outputs) -> float:
    """The largest relative RMS difference of an output; infinite where one is not finite that should be."""
    errors = [_error(exact[name], made[name]) for name in exact if exact[name].dtype.kind not in "iub"]
    return max(errors, default=0.0)


def _error(exact: Array, made: Array) -> float:
    x, y = np.asarray(exact, np.float64), np.asarray(made, np.float64)
    known = np.isfinite(x)
    if x.shape != y.shape or not np.isfinite(y[known]).all():
        return float("inf")
    off, size = float(np.sum((y[known] - x[known]) ** 2)), float(np.sum(x[known] ** 2))
    return float(np.sqrt(off / size)) if size > 0 else (0.0 if off == 0 else float("inf"))


@dataclass(eq=False)
class _Trials:
    """The errors of what was run so far."""

    model: MixedModel
    batch: Batch
    known: dict[tuple[frozenset[str], bool], float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.exact = self.model.exact(self.batch)

    def error(self, kept: frozenset[str], *, own: bool = False) -> float:
        if (kept, own) not in self.known:
            made = self.model.run(self.batch, kept, stored_sums=not own)
            self.known[kept, own] = output_error(self.exact, made)
        return self.known[kept, own]

    def own(self, kept: frozenset[str]) -> float | None:
        """The error where kernels sum in float32, None where no run is left for it."""
        return self.error(kept, own=True) if self.left or (kept, True) in self.known else None

    @property
    def left(self) -> bool:
        """Whether another run fits."""
        done = len(self.known)
        spent = time.monotonic() - self.started
        return done < LEAST or (done < RUNS and spent * (done + 1) / done < SECONDS)


def _fewer(
    trials: _Trials, kept: frozenset[str], blocks: list[tuple[str, ...]], limit: float
) -> tuple[frozenset[str], bool, dict[str, float]]:
    """The set without what is not needed, tried block by block and in halves; whether all was tried; and the error
    that each single norm was found to be needed for.
    """
    errors = dict[str, float]()
    while blocks:
        if not trials.left:
            return kept, False, errors
        block = blocks.pop(0)
        error = trials.error(kept - frozenset(block))
        if error <= limit:
            kept -= frozenset(block)
        elif len(block) == 1:
            errors[block[0]] = error
        else:
            middle = len(block) // 2
            blocks[:0] = [block[:middle], block[middle:]]
    return kept, True, errors
