"""The first pass of a verification: single samples, at every folded point, with the original in float64 beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from normdiag.folding.backend import Evaluator, Foldable, Folded, FoldPoint
from normdiag.folding.bound import Depth
from normdiag.folding.compare import difference
from normdiag.folding.feeds import FoldTrial
from normdiag.folding.noise import leave_out_noise
from normdiag.folding.probe import needed
from normdiag.folding.steady import Steadiness
from normdiag.folding.tally import Tally, Values, add_outputs, of_folded, ran
from normdiag.records import OpGraph


@dataclass(frozen=True)
class WatchedModels:
    """Both models with their folded points in view, and what tells how steady the original is."""

    before: Evaluator
    after: Evaluator
    points: tuple[FoldPoint, ...]
    steadiness: Steadiness
    graph: OpGraph


def watch(original: Foldable, folded: Folded, roundoff: float) -> WatchedModels:
    """Make both ready."""
    points = folded.points
    places = {point.before: point.after for point in points}
    before = original.evaluator(tuple(places))
    after = folded.evaluator(tuple(dict.fromkeys(point.after for point in points)))
    return WatchedModels(before, after, points, Steadiness(original, before, places, roundoff), original.graph)


def look(
    watched: WatchedModels, samples: Iterable[FoldTrial], tally: Tally, depth_of: Callable[[str], Depth]
) -> Iterator[FoldTrial]:
    """Compare on as many samples of each group as a maximum needs, and yield those that were compared."""
    for _, group in groupby(samples, key=lambda trial: trial.group):
        wanted = 1
        for count, trial in enumerate(group):
            if count >= wanted:
                break
            values = ran(watched.before, trial)
            if values is not None:
                wanted = needed(values)
                kept = tally.kept(trial.group)
                if _compare(watched, trial, values, tally):
                    depth = depth_of(trial.group)
                    if tally.exceeds(trial.group, depth):
                        watched.steadiness.measure_again(tally, trial, values)
                        leave_out_noise(tally, trial.group, kept, depth, watched.graph)
                    yield trial


def _compare(watched: WatchedModels, trial: FoldTrial, values: Values, tally: Tally) -> bool:
    after = of_folded(watched.after, trial.batch)
    inner = {point.before for point in watched.points}
    if not add_outputs(tally, trial.group, values, after, [name for name in values if name not in inner]):
        return False
    _add_points(tally, trial.group, values, after, watched.points)
    watched.steadiness.measure(tally, trial, values, after)
    return True


def _add_points(tally: Tally, group: str, values: Values, after: Values, points: Sequence[FoldPoint]) -> None:
    for point in points:
        if point.before in values and point.after in after:
            tally.add("point", group, {point.before: difference(values[point.before], after[point.after])})
