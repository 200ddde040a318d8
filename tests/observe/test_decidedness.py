"""How far the best class stands out, and that the report carries it."""

from __future__ import annotations

import numpy as np
import pytest

from normdiag.metrics import output_change
from normdiag.observe.gap import decidedness, output_sums
from normdiag.records import Span


def test_it_is_best_less_second_best_in_deviations_over_the_classes() -> None:
    scores = np.array([[3.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert decidedness(scores) == pytest.approx([2.0 / scores[0].std(), 0.0])


def test_it_knows_neither_scale_nor_offset_and_reads_probabilities_by_their_logarithm() -> None:
    scores = np.random.default_rng(0).normal(size=(50, 7))
    assert decidedness(100.0 * scores - 3.0) == pytest.approx(decidedness(scores))
    odds = np.exp(scores)
    assert decidedness(odds / odds.sum(1, keepdims=True)) == pytest.approx(decidedness(scores))


def test_what_is_not_finite_decides_nothing() -> None:
    assert decidedness(np.array([[np.nan, 1.0, 2.0], [np.inf, 0.0, 1.0]])).tolist() == [0.0, 0.0]


def test_the_change_of_an_output_says_by_how_much_it_is_more_decided() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=(64, 5))
    surer = y + 4.0 * np.eye(5)[y.argmax(1)]
    change = output_change(output_sums(y, surer, Span(0, 64)))
    assert change.decided == pytest.approx(float(np.mean(decidedness(surer) - decidedness(y))))
    assert change.decided is not None and change.decided_se is not None and change.decided > 5 * change.decided_se > 0
    assert output_sums(y, surer).answers is not None and output_sums(y, surer).answers.sum() == 64  # type: ignore[union-attr]
