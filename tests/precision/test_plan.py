"""The search for the smallest plan, on models that are nothing but a table of errors."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.precision import plan as planning
from normdiag.precision.plan import make_plan, output_error
from normdiag.records import Batch
from normdiag.records.precision import PrecisionPlan

NAMES = tuple("abcdefghijkl")
BATCH = Batch((np.zeros((4, 1)),))


class Made:
    """A model whose error depends on the norms that are kept."""

    where = "nothing"
    norms = NAMES

    def __init__(self, error: Callable[[frozenset[str]], float], own: float = 1e-4) -> None:
        self._error, self._own = error, own

    def nodes(self, norm: str) -> tuple[str, ...]:
        return (f"{norm}/Node",)

    def first_lost(self, _: Batch) -> str | None:
        return "somewhere"

    def exact(self, _: Batch) -> dict[str, np.ndarray]:
        return {"y": np.ones(10)}

    def run(self, _: Batch, kept: frozenset[str], *, stored_sums: bool) -> dict[str, np.ndarray]:
        error = self._error(kept) if stored_sums else self._own
        return {"y": np.full(10, 1.0 + error)}


def plan(error: Callable[[frozenset[str]], float], suspects: tuple[str, ...] = (), **more: float) -> PrecisionPlan:
    return make_plan(Made(error, **more), BATCH, "fp16", suspects)


def kept(found: PrecisionPlan) -> set[str]:
    return {each.layer for each in found.kept}


@given(st.sets(st.sampled_from(NAMES), max_size=4), st.sets(st.sampled_from(NAMES), max_size=6))
def test_the_plan_holds_exactly_the_norms_that_are_needed(needed: set[str], suspects: set[str]) -> None:
    found = plan(lambda kept: 1e-3 if needed <= kept else math.inf, tuple(sorted(suspects)))
    assert kept(found) == needed and found.sufficient and found.minimal
    assert found.planned == pytest.approx(1e-3) and (found.all_half == math.inf) == bool(needed)
    assert all(each.error == math.inf and each.own_error == pytest.approx(1e-4) for each in found.kept)


def test_no_smaller_set_suffices_where_each_norm_adds_its_share() -> None:
    share = dict(zip(NAMES, np.linspace(1e-4, 3e-3, len(NAMES)), strict=True))

    def error(kept: frozenset[str]) -> float:
        return 1e-3 + sum(value for name, value in share.items() if name not in kept)

    found = plan(error, NAMES[::-1])
    assert found.planned <= found.limit
    assert all(error(frozenset(kept(found) - {name})) > found.limit for name in kept(found))
    assert found.minimal


def test_half_precision_that_does_no_harm_needs_no_plan_and_few_runs() -> None:
    found = plan(lambda _: 2e-3, ("a", "b"))
    assert (kept(found), found.runs, found.sufficient) == (set(), 3, True)


def test_an_error_that_is_no_harm_needs_no_plan_and_one_that_is_gets_a_close_one() -> None:
    """16 roundings of float16 are 0.0078, 4 are 0.002."""
    for worst, needed in ((0.007, set[str]()), (0.009, {"a", "b"})):
        found = plan(lambda kept, worst=worst: 5e-4 + sum(worst / 2 for name in "ab" if name not in kept), ("a",))
        assert kept(found) == needed and found.sufficient


@pytest.mark.parametrize("rest", [math.inf, 0.5])
def test_where_norms_do_not_help_none_is_named(rest: float) -> None:
    found = plan(lambda kept: rest if len(kept) == len(NAMES) else math.inf)
    assert not math.isfinite(found.all_half)
    assert found.lost == (None if math.isfinite(rest) else "somewhere")
    assert found.sufficient == math.isfinite(rest)
    assert kept(found) == (set(NAMES) if math.isfinite(rest) else set())


def test_a_slow_model_gets_a_plan_that_is_told_to_be_unfinished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planning, "SECONDS", 0.0)
    needed = {"a", "b", "c", "d", "e", "f"}
    found = plan(lambda kept: 1e-3 if needed <= kept else 1.0, NAMES[:9])
    assert needed <= kept(found) and found.sufficient and not found.minimal
    assert found.runs <= planning.LEAST + 1


def test_errors_are_of_the_worst_output_and_infinite_for_what_is_not_finite() -> None:
    x, ids = np.array([3.0, 4.0]), np.array([1, 2])
    assert output_error({"a": x, "ids": ids}, {"a": x * 1.1, "ids": ids + 1}) == pytest.approx(0.1)
    assert output_error({"a": x, "b": x}, {"a": x, "b": np.array([np.nan, 4.0])}) == math.inf
    masked = np.array([-np.inf, 4.0])
    assert output_error({"a": masked}, {"a": np.array([-65504.0, 4.0])}) == 0.0
    assert output_error({"a": np.zeros(2)}, {"a": np.zeros(2)}) == 0.0
