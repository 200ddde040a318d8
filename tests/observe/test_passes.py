"""The pass over the data, with a runner that needs no framework."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from normdiag.observe import passes
from normdiag.observe.passes import HELD_SAMPLES, attribute, fit, observe, recalibrated
from normdiag.observe.protocol import ReplacedStatistics, SeenBatch
from normdiag.records import Batch, Evidence, NormLayer, Span


class FakeRunner:
    """y = x, plus 1 for each layer whose statistics are stored; batch statistics add nothing."""

    def __init__(self, fixed_batch: int | None = None) -> None:
        self.fixed_batch = fixed_batch
        self.notes: tuple[str, ...] = ()

    def layers(self) -> tuple[NormLayer, ...]:
        return ()

    def run(self, batch: Batch) -> SeenBatch:
        batched = self.outputs(batch, batch_statistics=True) if batch.size > 1 else {}
        return SeenBatch(self.observe(batch), self.outputs(batch), batched)

    def observe(self, batch: Batch) -> Evidence:
        return Evidence(batch.size, 1, batch.size)

    def outputs(
        self,
        batch: Batch,
        *,
        batch_statistics: bool = False,
        statistics: Mapping[str, ReplacedStatistics] | None = None,
    ) -> Mapping[str, np.ndarray]:
        wrong = {"a": 3.0, "b": 1.0}
        kept = {} if batch_statistics else {name: v for name, v in wrong.items() if name not in (statistics or {})}
        return {"y": batch.arrays[0] + sum(kept.values())}


def batches(*sizes: int) -> list[Batch]:
    return [Batch((np.ones((size, 2), np.float32),)) for size in sizes]


def test_all_batches_are_summed_and_progress_is_told() -> None:
    told: list[int] = []
    seen = observe(FakeRunner(), batches(4, 4, 1), told.append)
    assert (seen.evidence.samples, seen.evidence.batches, seen.evidence.batch_size) == (9, 3, 4)
    assert told == [4, 8, 9]
    assert not seen.interrupted


def test_ctrl_c_keeps_what_was_seen() -> None:
    def stream() -> Iterator[Batch]:
        yield from batches(4)
        raise KeyboardInterrupt

    seen = observe(FakeRunner(), stream())
    assert seen.interrupted
    assert seen.evidence.samples == 4


def test_batches_are_cut_to_the_size_that_the_model_insists_on() -> None:
    assert [each.size for each in fit(batches(5, 2, 1), FakeRunner(2))] == [2, 2, 2]
    assert [each.size for each in fit(batches(5, 1), FakeRunner(None))] == [5, 1]


def test_each_batch_knows_where_it_lies_among_the_samples_that_run() -> None:
    assert [each.first for each in fit(batches(5, 2, 1), FakeRunner(2))] == [0, 2, 4]
    assert [each.span for each in fit(batches(5, 1), FakeRunner(None))] == [Span(0, 5), Span(5, 1)]


def test_the_first_samples_are_held_and_batches_of_one_are_not() -> None:
    seen = observe(FakeRunner(), batches(1, 100, 100, 1, 100, 100))
    assert [held.batch.first for held in seen.held] == [1, 101, 202]
    assert sum(held.batch.size for held in seen.held) >= HELD_SAMPLES


def test_no_more_is_held_than_there_is_room_for_but_one_batch_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "HELD_BYTES", 2 * 96 - 1)  # a batch of four takes 96, with two outputs
    assert len(observe(FakeRunner(), batches(4, 4, 2)).held) == 1
    monkeypatch.setattr(passes, "HELD_BYTES", 1)
    assert len(observe(FakeRunner(), batches(4, 4)).held) == 1


def test_pass_c_compares_the_three_outputs_two_by_two() -> None:
    one = ReplacedStatistics(np.zeros(1), np.ones(1))
    seen = observe(FakeRunner(), batches(4, 4))
    found = recalibrated(FakeRunner(), seen.held, {"a": one})
    assert found.samples == 8
    assert found.gap["y"].difference_square == 16 * 16.0
    assert found.change["y"].difference_square == 16 * 9.0
    assert found.noise["y"].difference_square == 16 * 1.0


def test_attribution_measures_each_layer_alone_and_skips_single_samples() -> None:
    one = ReplacedStatistics(np.zeros(1), np.ones(1))
    before, after = attribute(FakeRunner(), batches(4, 1), {"a": one, "b": one})
    assert before["y"].difference_square == 8 * 16.0
    assert after["a"]["y"].difference_square == 8 * 1.0
    assert after["b"]["y"].difference_square == 8 * 9.0
