"""Proof of a fold: original and folded on the same inputs, against what rounding can explain.

Two passes. The first looks at single samples, at every folded point, with the original in float64 beside it. The second
runs whole batches and compares the outputs. A fold has passed when every output and every point is within its bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice

from normdiag.errors import InputError
from normdiag.fold.backend import Evaluator, Foldable, Folded
from normdiag.fold.bound import ROUNDOFF, coarsest
from normdiag.fold.feeds import Feed, Trial
from normdiag.fold.judge import Runs, failure_message, judged
from normdiag.fold.latency import latencies
from normdiag.fold.points import look, of_folded, ran, response, watch
from normdiag.fold.probe import batch_size, singles
from normdiag.fold.tally import Tally, Values, add_outputs
from normdiag.records import FoldPlan, Verification

__all__ = ["failure_message", "verify"]

Progress = Callable[[int, "int | None"], None]

# A model above this is never held twice: the outputs of the original are kept, of so many batches at most.
TOGETHER_BYTES = 1 << 30
KEPT_BATCHES = 16
TOO_LARGE = "the model is too large to be held twice: its outputs alone were compared, one model after the other"


def verify(
    original: Foldable,
    folded: Folded,
    plan: FoldPlan,
    feeds: Feed | Sequence[Feed],
    *,
    progress: Progress | None = None,
) -> Verification:
    """Run both on the first of `feeds` that the original can run on, and compare.

    `progress(runs, total)` is called after each batch. Raises InputError where the original runs on none of the feeds,
    where the user's data does not fit it, or where nothing comes out that could be compared.
    """
    together = original.size_bytes <= TOGETHER_BYTES
    roundoff = ROUNDOFF[coarsest(original.graph)]
    evaluator = original.evaluator()
    feed, first, rest = _first_that_runs(evaluator, [feeds] if isinstance(feeds, Feed) else feeds)
    tally = Tally(strict=not feed.made_up)
    trials: Iterable[Trial] = chain([first], rest)
    note: str | None = TOO_LARGE
    if together:
        trials = list(trials) if feed.made_up else trials
        note = _points(original, folded, trials if isinstance(trials, list) else [first], tally, roundoff)
    seen = _originals(evaluator, trials, tally, None if together else roundoff)
    if not together:
        seen = iter(list(islice(seen, KEPT_BATCHES)))
        del evaluator
    after = folded.evaluator()
    runs = Runs(feed, tuple(_compared(seen, after, feed, tally, progress)))
    times = latencies(evaluator, after, first.batch) if together else None
    return judged(tally, runs, original.graph, plan, folded.points if together else (), note, times)


def _points(original: Foldable, folded: Folded, trials: Sequence[Trial], tally: Tally, roundoff: float) -> str | None:
    """The first pass, over single samples of each group; returns why float64 did not run, if so."""
    watched = watch(original, folded)
    for group in dict.fromkeys(trial.group for trial in trials):
        batches = (trial.batch for trial in trials if trial.group == group)
        samples = chain.from_iterable(singles(batch, original.inputs) for batch in batches)
        watched = look(watched, group, samples, tally, roundoff)
    return watched.note


def _originals(
    evaluator: Evaluator, trials: Iterable[Trial], tally: Tally, roundoff: float | None
) -> Iterator[tuple[Trial, Values]]:
    """What the original gives on each trial. With `roundoff`, its response too, once for each group."""
    groups = set()
    for trial in trials:
        values = ran(evaluator, trial.batch) if trial.optional else evaluator.run(trial.batch)
        if values is None:
            continue
        if roundoff is not None and trial.group not in groups:
            groups.add(trial.group)
            tally.add("response", trial.group, response(evaluator, trial.batch, values, roundoff))
        yield trial, values


def _compared(
    seen: Iterable[tuple[Trial, Values]], after: Evaluator, feed: Feed, tally: Tally, progress: Progress | None
) -> Iterator[tuple[int, float | None]]:
    """The second pass: sample count and magnitude of each run whose outputs could be compared."""
    for count, (trial, values) in enumerate(seen, 1):
        if add_outputs(tally, trial.group, values, of_folded(after, trial.batch), values):
            yield batch_size(trial.batch), trial.magnitude
        if progress is not None:
            progress(count, feed.total)


def _first_that_runs(evaluator: Evaluator, feeds: Sequence[Feed]) -> tuple[Feed, Trial, Iterator[Trial]]:
    """The feed to use, its first trial and the others. An error in the user's own data is for the user to see."""
    errors = []
    for feed in feeds:
        trials = iter(feed.trials)
        first = next(trials, None)
        if first is None:
            raise InputError(f"{feed.source} gave no batches")
        if not feed.made_up:
            return feed, first, trials
        try:
            evaluator.run(first.batch)
        except InputError as error:
            errors.append(str(error))
        else:
            return feed, first, trials
    raise InputError(
        "a fold is proven by running the model, and it does not run on made-up inputs "
        f"({errors[0] if errors else 'there are none'}): give data with --data, or the sizes of one sample "
        "with --input-shape"
    )
