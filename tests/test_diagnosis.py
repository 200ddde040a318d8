"""How benchmarks.diagnosis judges: what counts as found, right and restored."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from benchmarks.diagnosis.examine import Seen
from benchmarks.diagnosis.score import Answer, Score, score
from normdiag.records import ModelInfo, Report

NOTHING = Report(ModelInfo(None, "module", "pytorch", None, None, None), None, ())


def planted(remedies: Mapping[str, float], *, place: str = "middle", pipeline: bool = False) -> Seen:
    return Seen(
        "id", "net", "kind", "", place, ("stale_statistics",), frozenset("b"), pipeline, 95.0, 60.0, remedies, NOTHING
    )


def judged(seen: Seen, answer: Answer | None, option: float = 0.0) -> Score:
    return score(seen, answer, answer is not None, lambda _: option)


def test_nothing_is_right_where_nothing_is_found() -> None:
    result = judged(planted({}), None)
    assert (result.found, result.first, result.cause, result.remedy) == (False, False, False, False)


def test_the_first_layer_the_cause_and_the_remedy_are_judged_apart() -> None:
    seen = planted({"recalibrate": 94.0})
    right = judged(seen, Answer("stale_statistics", ("b", "a"), (), "recalibrate"))
    assert (right.first, right.cause, right.remedy, right.restored) == (True, True, True, 94.0)
    wrong = judged(seen, Answer("few_samples", ("a", "b"), (), "reload_weights"))
    assert (wrong.found, wrong.first, wrong.cause, wrong.remedy) == (True, False, False, False)


def test_two_alternatives_count_and_no_third() -> None:
    seen = planted({})
    assert judged(seen, Answer("few_samples", ("b",), ("x", "stale_statistics"), "none")).cause
    assert not judged(seen, Answer("few_samples", ("b",), ("x", "y", "stale_statistics"), "none")).cause


def test_none_is_right_only_where_no_other_remedy_restores() -> None:
    answer = Answer("stale_statistics", ("b",), (), "none")
    assert judged(planted({"recalibrate": 90.0}), answer).remedy
    assert not judged(planted({"recalibrate": 93.5}), answer).remedy
    assert not judged(planted({}, pipeline=True), answer).remedy


@pytest.mark.parametrize(("option", "restored"), [("unit", 94.0), (None, 60.0)])
def test_fixing_the_input_takes_the_option_that_is_named(option: str | None, restored: float) -> None:
    result = judged(planted({}, pipeline=True), Answer("input_preparation", ("b",), (), "fix_input", option), 94.0)
    assert (result.restored, result.remedy) == (restored, restored > 93.0)


def test_reloading_other_layers_repairs_nothing() -> None:
    seen = planted({"reload_weights": 95.0})
    assert judged(seen, Answer("foreign_statistics", ("a",), (), "reload_weights")).restored == 60.0
    assert judged(seen, Answer("foreign_statistics", ("a", "b"), (), "reload_weights")).restored == 95.0
