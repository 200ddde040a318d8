"""Streaming batches through a runner: evidence is a sum, so memory does not grow with the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from normdiag.observe.answers import marked
from normdiag.observe.gap import compare_outputs
from normdiag.observe.protocol import Outputs, ReplacedStatistics, Runner, SeenBatch
from normdiag.ranks import merged
from normdiag.records import Batch, Evidence, Marks, OutputSums, PointMap

Progress = Callable[[int], None]
Watch = Callable[[Batch], PointMap]
GapSums = Mapping[str, OutputSums]
# Pass C runs on what was held of the first samples: enough to tell a changed answer in a hundred, and no more memory
# than this, but for the first batch.
HELD_SAMPLES = 256
HELD_BYTES = 256 << 20


@dataclass(frozen=True, eq=False)
class Held:
    """A batch with its outputs in pass E and in pass B."""

    batch: Batch
    deployed: Outputs
    batched: Outputs

    @property
    def size(self) -> int:
        """In bytes."""
        arrays = (*self.batch.arrays, *self.deployed.values(), *self.batched.values())
        return sum(array.nbytes for array in arrays)


@dataclass(frozen=True, eq=False)
class Observation:
    """What was seen, the first batches of it, whether the run was interrupted, and how many samples were distinct."""

    evidence: Evidence
    held: tuple[Held, ...]
    interrupted: bool
    distinct: int


@dataclass(frozen=True, eq=False)
class Recalibrated:
    """Outputs of pass E, B and C compared two by two: `gap` E with B, `change` E with C, `noise` C with B.

    `marks`: the answers of E and C held against labels, for outputs and batches that have them.
    """

    samples: int
    gap: GapSums
    change: GapSums
    noise: GapSums
    marks: Mapping[str, Marks]

    def __add__(self, other: Recalibrated) -> Recalibrated:
        both = (merged(getattr(self, name), getattr(other, name)) for name in ("gap", "change", "noise", "marks"))
        return Recalibrated(self.samples + other.samples, *both)


def observe(
    runner: Runner, batches: Iterable[Batch], progress: Progress | None = None, *, points: Watch | None = None
) -> Observation:
    """Sum the evidence of all batches. Ctrl-C keeps what was summed up to the last whole batch.

    With `points`, what sums up points of the model in one more run of a batch, these are added. `progress` is called
    with the number of samples seen so far. Raises InputError where the data does not fit.
    """
    evidence, held, hashes = Evidence(), _Holder(), set[int]()
    try:
        for batch in fit(batches, runner):
            seen = runner.run(batch)
            evidence = evidence + (replace(seen.evidence, points=points(batch)) if points else seen.evidence)
            held.offer(batch, seen)
            hashes.update(_hashes(batch))
            if progress is not None:
                progress(evidence.samples)
    except KeyboardInterrupt:
        return Observation(evidence, tuple(held.kept), interrupted=True, distinct=len(hashes))
    return Observation(evidence, tuple(held.kept), interrupted=False, distinct=len(hashes))


def observe_points(runner: Runner, batches: Iterable[Batch], progress: Progress | None = None) -> Evidence:
    """The sums of the model's points over all batches, and nothing else. Ctrl-C is not caught: half is no reference."""
    evidence = Evidence()
    for batch in fit(batches, runner):
        evidence = evidence + Evidence(batch.size, 1, batch.size, points=runner.points(batch))
        if progress is not None:
            progress(evidence.samples)
    return evidence


def _hashes(batch: Batch) -> Iterator[int]:
    """One for each sample of a batch: equal samples have equal ones."""
    for index in range(batch.size):
        yield hash(tuple(array[index].tobytes() for array in batch.arrays))


class _Holder:
    """Keeps the first batches that pass B ran on."""

    def __init__(self) -> None:
        """Nothing kept yet."""
        self.kept: list[Held] = []
        self._samples = self._bytes = 0

    def offer(self, batch: Batch, seen: SeenBatch) -> None:
        """Keep it if there is room."""
        if self._samples >= HELD_SAMPLES or not seen.batched:
            return
        held = Held(batch, seen.deployed, seen.batched)
        self._bytes += held.size
        if not self.kept or self._bytes <= HELD_BYTES:
            self.kept.append(held)
            self._samples += batch.size
        else:
            self._samples = HELD_SAMPLES


def recalibrated(runner: Runner, held: Sequence[Held], statistics: Mapping[str, ReplacedStatistics]) -> Recalibrated:
    """Pass C: the batches held, once more in eval mode, with these statistics by layer name in place of the stored."""
    sums: tuple[dict[str, OutputSums], dict[str, OutputSums], dict[str, OutputSums]] = ({}, {}, {})
    marks: dict[str, Marks] = {}
    for each in held:
        replaced = runner.outputs(each.batch, statistics=statistics)
        batch, alone = each.batch.whole, each.batch.span
        pairs = (each.deployed, each.batched, batch), (each.deployed, replaced, alone), (replaced, each.batched, batch)
        for total, (reference, other, span) in zip(sums, pairs, strict=True):
            _accumulate(total, compare_outputs(reference, other, span))
        marks = merged(marks, marked(each.deployed, replaced, each.batch.labels))
    gap, change, noise = sums
    return Recalibrated(sum(each.batch.size for each in held), gap, change, noise, marks)


def attribute(
    runner: Runner, batches: Iterable[Batch], statistics: Mapping[str, ReplacedStatistics]
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
    """Batches cut to the size that the model insists on."""
    return of_size(batches, runner.fixed_batch)


def of_size(batches: Iterable[Batch], fixed: int | None) -> Iterator[Batch]:
    """Batches cut to a size (None: as they are); a remainder smaller than that cannot run and is left out.

    Each knows its index and that of its first sample among those that run.
    """
    first = index = 0
    for batch in batches:
        size = fixed or batch.size
        for start in range(0, batch.size - size + 1, max(size, 1)):
            part = batch if size == batch.size else batch.rows(slice(start, start + size))
            yield replace(part, first=first, index=index)
            first, index = first + size, index + 1


def _accumulate(sums: dict[str, OutputSums], more: GapSums) -> None:
    for name, each in more.items():
        sums[name] = sums[name] + each if name in sums else each
