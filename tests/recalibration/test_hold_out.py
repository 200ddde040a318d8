"""Which samples judge: evenly spread, the same ones every time, never more than fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.recalibration import hold_out
from normdiag.recalibration.hold_out import HoldOut, joined
from normdiag.records import Batch


def stream(*sizes: int) -> list[Batch]:
    starts = np.cumsum([0, *sizes])[:-1]
    return [
        Batch((np.arange(start, start + size)[:, None],), labels=np.arange(start, start + size), first=int(start))
        for start, size in zip(starts, sizes, strict=True)
    ]


def indexes(batches: list[Batch]) -> list[int]:
    return [int(value) for batch in batches for value in batch.arrays[0][:, 0]]


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8), share=st.floats(0.0, 0.9))
def test_every_sample_measures_or_judges(sizes: list[int], share: float) -> None:
    hold = HoldOut(share)
    left = [batch for each in stream(*sizes) if (batch := hold.take(each)) is not None]
    assert sorted(indexes(left) + indexes(hold.kept)) == list(range(sum(sizes)))
    assert hold.samples == pytest.approx(share * sum(sizes), abs=1)
    assert all(batch.labels.tolist() == indexes([batch]) for batch in hold.kept if batch.labels is not None)


def test_the_same_ones_however_the_data_is_cut() -> None:
    found = []
    for sizes in ([100], [30, 70], [64, 36], [1] * 100):
        hold = HoldOut(0.2)
        for batch in stream(*sizes):
            hold.take(batch)
        found.append(indexes(hold.kept))
    assert found == [list(range(4, 100, 5))] * 4


def test_no_more_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold_out, "MOST", 10)
    hold = HoldOut(0.5)
    for batch in stream(*[8] * 10):
        hold.take(batch)
    assert 10 <= hold.samples < 14


def test_batches_that_stay_together() -> None:
    hold = HoldOut(0.25)
    left = [hold.take(batch, whole=True) for batch in stream(*[4] * 8)]
    assert [batch is None for batch in left] == [False, False, False, True] * 2


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=10))
def test_small_batches_are_joined(sizes: list[int]) -> None:
    found = list(joined(stream(*sizes)))
    assert indexes(found) == list(range(sum(sizes)))
    assert min(batch.size for batch in found) >= min(16, sum(sizes))


def test_batches_of_other_shapes_are_not_joined() -> None:
    one, two = Batch((np.zeros((3, 2)),)), Batch((np.zeros((3, 5)),))
    assert [batch.size for batch in joined([one, two, two])] == [3, 6]
