"""Streaming batches through a runner: evidence is a sum, so memory does not grow with the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from normdiag.observe.gap import compare_outputs
from normdiag.observe.protocol import Runner, Statistics
from normdiag.records import Batch, Evidence, OutputSums

Progress = Callable[[int], None]
GapSums = Mapping[str, OutputSums]


@dataclass(frozen=True, eq=False)
class Observation:
    """What was seen, and whether the run was interrupted before the data ended."""

    evidence: Evidence
    interrupted: bool


def observe(runner: Runner, batches: Iterable[Batch], progress: Progress | None = None) -> Observation:
    """Sum the evidence of all batches. Ctrl-C keeps what was summed up to the last whole batch.

    `progress` is called with the number of samples seen so far. Raises InputError where the data does not fit.
    """
    evidence = Evidence()
    try:
        for batch in fit(batches, runner):
            evidence = evidence + runner.observe(batch)
            if progress is not None:
                progress(evidence.samples)
    except KeyboardInterrupt:
        return Observation(evidence, interrupted=True)
    return Observation(evidence, interrupted=False)


def attribute(
    runner: Runner, batches: Iterable[Batch], statistics: Mapping[str, Statistics]
) -> tuple[GapSums, dict[str, GapSums]]:
    """The gap to pass B as deployed, and with the statistics of one layer at a time put in, by layer name.

    The model runs twice per batch and once more per layer.
    """
    before: dict[str, OutputSums] = {}
    after: dict[str, dict[str, OutputSums]] = {name: {} for name in statistics}
    for batch in fit(batches, runner):
        if batch.size < 2:
            continue
        target = runner.outputs(batch, batch_statistics=True)
        _accumulate(before, compare_outputs(runner.outputs(batch), target))
        for name, each in statistics.items():
            changed = runner.outputs(batch, statistics={name: each})
            _accumulate(after[name], compare_outputs(changed, target))
    return before, dict(after)


def fit(batches: Iterable[Batch], runner: Runner) -> Iterator[Batch]:
    """Batches cut to the size that the model insists on; a remainder smaller than that cannot run and is left out."""
    for batch in batches:
        size = runner.fixed_batch
        if size is None or batch.size == size:
            yield batch
            continue
        for start in range(0, batch.size - size + 1, size):
            yield batch.rows(slice(start, start + size))


def _accumulate(sums: dict[str, OutputSums], more: GapSums) -> None:
    for name, each in more.items():
        sums[name] = sums[name] + each if name in sums else each
