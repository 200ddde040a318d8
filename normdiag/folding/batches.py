"""The second pass of a verification: whole batches, of which the outputs are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from normdiag.folding.backend import Evaluator
from normdiag.folding.bound import Depth
from normdiag.folding.feeds import FoldTrial
from normdiag.folding.noise import leave_out_noise
from normdiag.folding.steady import Steadiness, respond
from normdiag.folding.tally import Tally, Values, add_outputs, of_folded, ran
from normdiag.records import OpGraph


def originals(evaluator: Evaluator, trials: Iterable[FoldTrial]) -> Iterator[tuple[FoldTrial, Values]]:
    """What the original gives on each trial that it runs on."""
    for trial in trials:
        values = ran(evaluator, trial)
        if values is not None:
            yield trial, values


def responding(
    evaluator: Evaluator, trials: Iterable[FoldTrial], tally: Tally, roundoff: float
) -> Iterator[tuple[FoldTrial, Values]]:
    """The same, and on the way how far the original moves when its input changes in the last bit."""
    for trial, values in originals(evaluator, trials):
        respond(tally, trial, evaluator, values, roundoff)
        yield trial, values


def compare(
    seen: Iterable[tuple[FoldTrial, Values]],
    after: Evaluator,
    tally: Tally,
    depth_of: Callable[[str], Depth],
    steadiness: Steadiness | None,
    graph: OpGraph,
) -> Iterator[FoldTrial]:
    """Compare the outputs with those of the folded model and yield what was compared.

    Samples differ in how much they magnify rounding. So where a batch is above what is known so far to be rounding, the
    original's steadiness is measured on that very batch.
    """
    for trial, values in seen:
        found, kept = of_folded(after, trial.batch), tally.kept(trial.group)
        if add_outputs(tally, trial.group, values, found, values):
            depth = depth_of(trial.group)
            if steadiness is not None and tally.exceeds(trial.group, depth):
                steadiness.measure(tally, trial, values, found)
                if tally.exceeds(trial.group, depth):
                    steadiness.measure_again(tally, trial, values)
            leave_out_noise(tally, trial.group, kept, depth, graph)
            yield trial
