"""Verification of a fold: original and folded on the same inputs, against what rounding can explain.

Two passes. The first takes single samples and looks at every folded point, with the original in float64 beside it; the
second takes whole batches and compares the outputs. A fold has passed when all outputs and points are within bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

from normdiag.errors import InputError
from normdiag.folding.backend import Evaluator, Foldable, Folded, FoldPoint
from normdiag.folding.batches import compare, originals, responding
from normdiag.folding.bound import ROUNDOFF, Depth, coarsest
from normdiag.folding.compare import difference
from normdiag.folding.evidence import check_evidence, missing
from normdiag.folding.feeds import FoldTrial, TrialFeed
from normdiag.folding.judge import Done, Runs, depth_seen, failure_message, judged
from normdiag.folding.latency import measured
from normdiag.folding.points import look, watch
from normdiag.folding.probe import batch_size, singles
from normdiag.folding.steady import Steadiness
from normdiag.folding.tally import Tally
from normdiag.records import FoldPlan, Verification

__all__ = ["failure_message", "verify"]

Progress = Callable[[int, "int | None"], None]

# A model above this is never held twice: the outputs of the original are kept, of so many batches at most.
TOGETHER_BYTES = 1 << 30
KEPT_BATCHES = 16
# What is left is float64's rounding, and float32's of a gamma that the code computes, as 1 + weight.
SAME_IN_FLOAT64 = 1e-6
TOO_LARGE = "the model is too large to be held twice: one ran after the other, and their outputs alone were compared"


def verify(
    original: Foldable,
    folded: Folded,
    plan: FoldPlan,
    feeds: TrialFeed | Sequence[TrialFeed],
    *,
    progress: Progress | None = None,
) -> Verification:
    """Run both on the first of `feeds` that the original can run on, and compare.

    `progress(runs, None)` is called after each run. Raises InputError where the original runs on none of the feeds,
    where the user's data does not fit it, or where nothing comes out that could be compared.
    """
    feed, samples, batches = _opened(original, [feeds] if isinstance(feeds, TrialFeed) else feeds)
    task = _Task(original, folded, plan, feed, samples, batches, progress or (lambda done, total: None))
    if original.streams:
        few = task if original.size_bytes <= TOGETHER_BYTES else _one_sample(task)
        return _before_rounding(few, _together(few))
    return _together(task) if original.size_bytes <= TOGETHER_BYTES else _in_turn(task)


@dataclass(frozen=True, eq=False)
class _Task:
    original: Foldable
    folded: Folded
    plan: FoldPlan
    feed: TrialFeed
    samples: Sequence[FoldTrial]
    batches: Iterable[FoldTrial]
    progress: Progress

    @property
    def roundoff(self) -> float:
        """Of the coarsest dtype."""
        return ROUNDOFF[coarsest(self.original.graph)]

    def depth_of(self, tally: Tally, points: Sequence[FoldPoint] = ()) -> Callable[[str], Depth]:
        """The estimated errors in a group, with what has been seen in it so far."""
        graph = self.original.graph
        return lambda group: depth_seen(tally, group, graph, self.plan, points)

    def verdict(self, tally: Tally, runs: Runs, points: Sequence[FoldPoint] = ()) -> Verification:
        """All groups judged. Raises InputError where that verifies nothing."""
        of = self.depth_of(tally, points)
        place = {op.name: index for index, op in enumerate(self.original.graph.ops)}
        points = sorted(points, key=lambda point: place.get(point.layer, -1))
        found = judged(tally, runs, {group: of(group) for group in tally.groups()}, points)
        if found.passed:
            check_evidence(tally, self.original.graph, self.plan, points, self.feed)
        return found

    def lacks(self, tally: Tally, points: Sequence[FoldPoint]) -> bool:
        """Whether something that has to be compared was not yet."""
        return not tally.groups() or any(missing(tally, self.original.graph, self.plan, points))

    def counted(self, trials: Iterable[FoldTrial], start: int = 0) -> list[Done]:
        """What is to be remembered of each trial, with progress told after it."""
        done = []
        for trial in trials:
            done.append(Done(batch_size(trial.batch), trial.magnitude))
            self.progress(start + len(done), None)
        return done


def _together(task: _Task) -> Verification:
    """Both models are in memory at once, run by run."""
    tally = Tally(strict=not task.feed.made_up)
    seen = _inside(task, tally)
    before, after = task.original.evaluator(), task.folded.evaluator()
    steadiness = Steadiness(task.original, before, {}, task.roundoff, seen.failed)
    depth_of = task.depth_of(tally, seen.points)
    compared = compare(originals(before, task.batches), after, tally, depth_of, steadiness, task.original.graph)
    done = task.counted(compared, len(seen.done))
    latency = None if task.original.streams else measured(before, after, task.samples[0].batch)
    runs = Runs(task.feed, tuple(seen.done + done if task.feed.made_up else done), steadiness.failed, latency)
    return task.verdict(tally, runs, seen.points)


def _before_rounding(task: _Task, found: Verification) -> Verification:
    """The same fold with weights that are not rounded yet, both in float64: in half precision, rounding hides much.

    Where that shows a difference, it is the plan's.
    """
    exact, unrounded = task.original.exact(), task.folded.unrounded()
    if not found.passed or isinstance(exact, str) or unrounded is None:
        return found
    before, after = (each.run(task.samples[0].batch) for each in (exact, unrounded))
    errors = {name: difference(value, after[name]).relative for name, value in before.items()}
    output = max(errors, key=lambda name: errors[name])
    if not errors[output] <= SAME_IN_FLOAT64:
        return replace(found, passed=False, output=output, error=errors[output], bound=SAME_IN_FLOAT64)
    note = f"in float64, before the weights are rounded to {found.dtype}, it differs by {errors[output]:.1e}"
    return replace(found, note="; ".join(filter(None, (found.note, note))))


def _one_sample(task: _Task) -> _Task:
    """Of a model that takes minutes for each run, the user's first batch or one made-up sample is looked at inside."""
    return replace(task, samples=task.samples[:1], batches=())


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the first pass leaves: no model that is ready to run. `failed` says why float64 could not."""

    done: list[Done]
    points: tuple[FoldPoint, ...]
    failed: str | None


def _inside(task: _Task, tally: Tally) -> _Seen:
    """The first pass. Its models, float64 among them, are gone before the second makes its own."""
    watched = watch(task.original, task.folded, task.roundoff)
    depth_of = task.depth_of(tally, watched.points)
    done = task.counted(look(watched, task.samples, tally, depth_of))
    for trial in task.feed.spare:
        if not task.lacks(tally, watched.points):
            break
        done += task.counted(look(watched, (trial,), tally, depth_of), len(done))
    return _Seen(done, watched.points, watched.steadiness.failed)


def _in_turn(task: _Task) -> Verification:
    """First the original, then the folded model: only one of them is in memory at any time."""
    tally = Tally(strict=not task.feed.made_up)
    samples = {trial.group: trial for trial in reversed(task.samples)}.values() if task.feed.made_up else ()
    trials = chain(samples, task.batches)
    kept = list(islice(responding(task.original.evaluator(), trials, tally, task.roundoff), KEPT_BATCHES))
    done = task.counted(compare(kept, task.folded.evaluator(), tally, task.depth_of(tally), None, task.original.graph))
    return task.verdict(tally, Runs(task.feed, tuple(done), TOO_LARGE))


def _opened(
    original: Foldable, feeds: Sequence[TrialFeed]
) -> tuple[TrialFeed, Sequence[FoldTrial], Iterable[FoldTrial]]:
    """The feed to use, its samples, at least one, and its batches. Of the user's data the samples are the first."""
    for feed in feeds:
        if not feed.made_up:
            batches = iter(feed.batches)
            first = next(batches, None)
            if first is None:
                raise InputError(f"{feed.source} gave no batches")
            samples = [replace(first, batch=batch) for batch in singles(first.batch, original.inputs)]
            return feed, samples, chain([first], batches)
    return _first_that_runs(original.evaluator(), feeds)


def _first_that_runs(
    evaluator: Evaluator, feeds: Sequence[TrialFeed]
) -> tuple[TrialFeed, Sequence[FoldTrial], Iterable[FoldTrial]]:
    """The first guess of free sizes that the model runs on."""
    errors = []
    for feed in feeds:
        samples = tuple(feed.samples)
        try:
            evaluator.run(samples[0].batch)
        except InputError as error:
            errors.append(str(error))
        else:
            return feed, samples, feed.batches
    raise InputError(
        "a fold is verified by running the model, and it does not run on made-up inputs "
        f"({errors[0] if errors else 'there are none'}): give data with --data, or the sizes of one sample "
        "with --input-shape; --no-verify writes it without a verification"
    )
