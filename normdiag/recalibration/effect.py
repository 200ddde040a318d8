"""Before and after, on samples that the statistics do not come from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.metrics.population import statistics_drift
from normdiag.observe.answers import answers_to, are_scores, compared_output, labels_fit
from normdiag.observe.protocol import ReplacedStatistics, Runner
from normdiag.ranks import merged
from normdiag.recalibration.measure import EPS, populations
from normdiag.records import Batch, NormLayer
from normdiag.records.recalibration import Effect, PopulationSums

Array = NDArray[Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Per sample of one batch: squares of the outputs and their distances, classes before and after, and labels."""

    change: Floats
    before: Floats
    gap_before: Floats
    gap_after: Floats
    batch: Floats
    classes: tuple[Array, Array] | None
    labels: Array | None


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What the held-out samples showed: rows of the compared `output`, and sums of the layers about stored means."""

    samples: int = 0
    output: str | None = None
    rows: tuple[_Rows, ...] = ()
    sums: Mapping[str, PopulationSums] = field(default_factory=dict)

    def __add__(self, other: HeldOut) -> HeldOut:
        return HeldOut(
            self.samples + other.samples,
            self.output or other.output,
            self.rows + other.rows,
            merged(self.sums, other.sums),
        )


def run_held_out(before: Runner, after: Runner, held: Sequence[Batch]) -> HeldOut:
    """Both models on the held-out batches."""
    found = HeldOut()
    for batch in held:
        old, new = before.outputs(batch), after.outputs(batch)
        name = found.output or compared_output(old)
        if name is None:
            return HeldOut()
        big = batch.size > 1
        on_batch = before.outputs(batch, batch_statistics=True) if big else {}
        rows = (_compared(old[name], new[name], on_batch.get(name), batch),)
        found = found + HeldOut(batch.size, name, rows, before.population(batch) if big else {})
    return found


def effect_of(
    found: HeldOut, layers: Sequence[NormLayer], statistics: Mapping[str, ReplacedStatistics]
) -> Effect | None:
    """Before and after; None where nothing was held out, or no output is of floating point.

    `layers` are as stored, `statistics` what replaces theirs.
    """
    rows = found.rows
    if found.output is None:
        return None
    change, reference = _total(rows, "change"), _total(rows, "before")
    scores = all(each.classes is not None for each in rows)
    return Effect(
        samples=found.samples,
        output=found.output,
        relative_rms=math.sqrt(change / reference) if reference > 0 else (0.0 if change == 0 else math.inf),
        answers_changed=float(np.mean(_joined(rows, 0) != _joined(rows, 1))) if scores else None,
        drift=_drift(found, layers, statistics),
        **_right(rows),
        **_gap(rows),
    )


def _drift(
    found: HeldOut, layers: Sequence[NormLayer], statistics: Mapping[str, ReplacedStatistics]
) -> tuple[float, float] | None:
    """RMS over the layers of the drift from what was held out, of the old statistics and of the new."""
    seen = populations(layers, found.sums)
    squares: list[Floats] = []
    for layer in layers:
        mean, var = layer.running_mean, layer.running_var
        if layer.name not in statistics or layer.name not in seen or mean is None or var is None:
            continue
        new, now, eps = statistics[layer.name], seen[layer.name], layer.eps or EPS
        drifts = statistics_drift(mean, var, now, eps), statistics_drift(new.mean, new.var, now, eps)
        squares.append(np.square(drifts))
    if not squares:
        return None
    before, after = np.sqrt(np.mean(squares, 0))
    return float(before), float(after)


def _compared(old: Array, new: Array, on_batch: Array | None, batch: Batch) -> _Rows:
    rows = batch.size if old.ndim and old.shape[0] == batch.size else 1
    a, b = (each.astype(np.float64).reshape(rows, -1) for each in (old, new))
    t = np.full_like(a, np.nan) if on_batch is None else on_batch.astype(np.float64).reshape(rows, -1)
    scores = are_scores(old)
    labels = batch.labels if scores and labels_fit(batch.labels, old.shape[1]) else None
    with np.errstate(invalid="ignore", over="ignore"):
        change, before, gap_before, gap_after, squares = ((each**2).sum(1) for each in (b - a, a, a - t, b - t, t))
    answers = (answers_to(a), answers_to(b)) if scores else None
    return _Rows(change, before, gap_before, gap_after, squares, answers, labels)


def _joined(rows: Sequence[_Rows], which: int) -> Array:
    return np.concatenate([each.classes[which] for each in rows if each.classes is not None])


def _total(rows: Sequence[_Rows], name: str) -> float:
    return float(sum(getattr(each, name).sum() for each in rows))


def _right(rows: Sequence[_Rows]) -> dict[str, Any]:
    if any(each.labels is None or each.classes is None for each in rows):
        return {}
    labels = np.concatenate([each.labels for each in rows if each.labels is not None])
    before, after = _joined(rows, 0) == labels, _joined(rows, 1) == labels
    newly = int(np.sum(after & ~before)), int(np.sum(before & ~after))
    return {"accuracy": (float(before.mean()), float(after.mean())), "newly": newly}


def _gap(rows: Sequence[_Rows]) -> dict[str, Any]:
    """Distances from the outputs on batch statistics; none where the batches were too small for these."""
    known = [each for each in rows if np.isfinite(each.batch).all()]
    squares = _total(known, "batch")
    if not known or squares == 0 or _total(known, "gap_before") == 0:  # what is deployed are batch statistics
        return {}
    rise = np.concatenate([each.gap_after - each.gap_before for each in known])
    scale = len(rise) / squares
    error = float(rise.std(ddof=1)) / math.sqrt(len(rise)) if len(rise) > 1 else math.inf
    return {
        "gap": tuple(math.sqrt(_total(known, name) / squares) for name in ("gap_before", "gap_after")),
        "gap_rise": float(rise.mean()) * scale,
        "gap_rise_se": error * scale,
    }
