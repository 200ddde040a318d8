"""What measurements lead to: repaired, left alone, refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from normdiag.recalibration.decide import drifts, is_worse, outcome
from normdiag.records.recalibration import Effect, LayerChange

CALM = LayerChange("a", "batch_norm", 8, 500, 500, 0.02, 0.01, 0.02)
OFF = replace(CALM, drift=0.4, se=0.05)
SAME = Effect(200, "y", 0.01, 0.0, (0.9, 0.9), (0, 0))


@pytest.mark.parametrize(
    ("drift", "se", "expected"),
    [(0.4, 0.05, True), (0.4, 0.2, False), (0.09, 0.0, False), (0.4, math.inf, False), (math.nan, math.inf, True)],
)
def test_a_layer_drifts_where_the_lower_end_does(drift: float, se: float, expected: bool) -> None:
    assert drifts(replace(CALM, drift=drift, se=se)) is expected


@pytest.mark.parametrize(
    ("layers", "effect", "expected"),
    [
        ([CALM], SAME, "already_right"),
        ([CALM], None, "already_right"),
        ([CALM, OFF], SAME, "recalibrated"),
        ([CALM, OFF], None, "recalibrated"),
        ([replace(OFF, kept="not among --layers")], SAME, "undecided"),
        ([replace(CALM, se=0.2)], SAME, "undecided"),
        ([CALM], replace(SAME, answers_changed=0.2), "recalibrated"),
        ([CALM], replace(SAME, answers_changed=0.03), "already_right"),
        ([CALM], replace(SAME, answers_changed=None, relative_rms=0.4), "recalibrated"),
        ([OFF], replace(SAME, newly=(0, 5)), "worse"),
        ([CALM], replace(SAME, newly=(0, 5)), "already_right"),
        ([replace(CALM, drift=math.nan, se=math.inf)], SAME, "recalibrated"),
    ],
)
def test_outcomes(layers: list[LayerChange], effect: Effect | None, expected: str) -> None:
    assert outcome(layers, effect) == expected


def test_training_mode_is_always_left() -> None:
    assert outcome([CALM], SAME, converts=True) == "recalibrated"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"newly": (0, 1)}, False),  # one answer of hundreds is chance
        ({"newly": (0, 2)}, True),
        ({"newly": (40, 45)}, False),
        ({"newly": (40, 60)}, True),
        ({"newly": None}, False),
        ({"newly": None, "gap": (0.2, 0.3), "gap_rise": 0.05, "gap_rise_se": 0.01}, True),
        ({"newly": None, "gap": (0.2, 0.21), "gap_rise": 0.01, "gap_rise_se": 0.01}, False),
        ({"newly": None, "gap": (0.2, math.nan), "gap_rise": math.nan}, True),
        ({"newly": None, "gap": (math.nan, 0.2), "gap_rise": math.nan}, False),
    ],
)
def test_worse_is_more_than_chance(changes: dict[str, Any], expected: bool) -> None:
    assert is_worse(replace(SAME, **changes)) is expected
