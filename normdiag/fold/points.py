"""The first pass of a proof: single samples, at every folded point, beside the original in float64."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from normdiag.errors import InputError
from normdiag.fold.backend import Evaluator, Foldable, Folded, Point
from normdiag.fold.compare import Difference, difference
from normdiag.fold.probe import needed, nudged
from normdiag.fold.tally import Tally, Values, add_outputs, floating
from normdiag.records import Batch

# float64 takes twice the memory of a float32 model, on top of both.
EXACT_BYTES = 1 << 29


@dataclass(frozen=True)
class Watch:
    """Both models with their folded points in view, and the original in float64, or None with the reason in `note`."""

    before: Evaluator
    after: Evaluator
    points: tuple[Point, ...]
    exact: Evaluator | None
    note: str | None = None


def watch(original: Foldable, folded: Folded) -> Watch:
    """Make both ready."""
    points = folded.points
    befores = list(dict.fromkeys(point.before for point in points))
    afters = list(dict.fromkeys(point.after for point in points))
    large = original.size_bytes > EXACT_BYTES
    exact = "the model is too large to be held in float64 as well" if large else original.exact(befores)
    note = exact if isinstance(exact, str) else None
    return Watch(
        original.evaluator(befores), folded.evaluator(afters), points, None if isinstance(exact, str) else exact, note
    )


def look(watched: Watch, group: str, samples: Iterable[Batch], tally: Tally, roundoff: float) -> Watch:
    """Compare on as many samples as a maximum needs; what the original cannot run on is passed over.

    Returns `watched`, without its float64 model once that has failed.
    """
    wanted = 1
    for count, sample in enumerate(samples):
        if count >= wanted:
            break
        values = ran(watched.before, sample)
        if values is not None:
            wanted = needed(values)
            watched = _compare(watched, group, sample, values, tally, roundoff)
    return watched


def ran(evaluator: Evaluator, batch: Batch) -> Values | None:
    """What comes out, or None where the model cannot run on this batch."""
    try:
        return evaluator.run(batch)
    except InputError:
        return None


def of_folded(evaluator: Evaluator, batch: Batch) -> Values:
    """What comes out of the folded model on a batch that the original ran on. Raises InputError saying so."""
    try:
        return evaluator.run(batch)
    except InputError as error:
        raise InputError(f"the folded model does not run on inputs that the original runs on: {error}") from error


def response(evaluator: Evaluator, batch: Batch, values: Values, roundoff: float) -> dict[str, Difference]:
    """How far the floating tensors of the original move when its input changes in the last bit."""
    moved = nudged(batch, roundoff)
    return {} if moved is None else floating(values, evaluator.run(moved), values)


def _compare(watched: Watch, group: str, sample: Batch, values: Values, tally: Tally, roundoff: float) -> Watch:
    after = of_folded(watched.after, sample)
    inner = {point.before for point in watched.points}
    outputs = [name for name in values if name not in inner]
    if not add_outputs(tally, group, values, after, outputs):
        return watched
    _add_points(tally, group, values, after, watched.points)
    if watched.exact is not None:
        try:
            truth = watched.exact.run(sample)
        except InputError as error:
            watched = replace(watched, exact=None, note=f"the original does not run in float64: {error}")
        else:
            tally.add("own", group, floating(values, truth, truth))
            tally.add("exact", group, floating(truth, after, outputs))
            return watched
    tally.add("response", group, response(watched.before, sample, values, roundoff))
    return watched


def _add_points(tally: Tally, group: str, values: Values, after: Values, points: Sequence[Point]) -> None:
    for point in points:
        if point.before in values and point.after in after:
            tally.add("point", group, {point.before: difference(values[point.before], after[point.after])})
