"""Labels beside the data, and answers that are given back or not, as evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from normdiag.diagnosis import CAUSES, diagnosed
from normdiag.diagnosis.evidence.answer_change import AnswerChange
from normdiag.metrics import held_against_labels
from normdiag.records import Gap, Labelled, Marks, Report
from normdiag.rules import with_findings
from tests.diagnosis.networks import RULES_HERE, Truth, changed, first, network, report

RNG = np.random.default_rng(5)
GAP = Gap("y", 0.5, 0.3, 0.1, 32, 256, 0.9, 0.1, classes=10, answered=6.0)


def moved(each: Truth) -> Truth:
    return replace(each, mean=each.mean + 0.5 * np.sqrt(each.var) * RNG.normal(size=each.mean.shape))


def excited(each: Truth) -> Truth:
    """Values more widely spread, means where they were."""
    return replace(each, var=1.3 * each.var * np.exp(0.3 * RNG.normal(size=each.var.shape)))


def with_labels(of: Report, before: float, after: float, classes: float = 10.0, answered: float = 6.0) -> Report:
    """The report, concluded anew, of 256 labelled samples; hardly more answers change than the accuracies ask for."""
    assert of.recalibration is not None
    right, wrong = max(round(256 * (after - before)), 0) + 4, max(round(256 * (before - after)), 0) + 4
    labels = Labelled(256, (before, after), (right, wrong), classes)
    of = replace(of, recalibration=replace(of.recalibration, labelled=labels), gap=replace(GAP, answered=answered))
    return diagnosed(with_findings(replace(of, findings=(), diagnosis=()), RULES_HERE), CAUSES)


def test_more_right_answers_are_a_finding_even_where_few_change() -> None:
    quiet = report(network(), answers=0.04, decided=0.0)
    assert all(each.rule != "ND308" for each in quiet.findings)
    found = [each for each in with_labels(quiet, 0.90, 0.99).findings if each.rule == "ND308"]
    assert len(found) == 1 and "99.0% of the answers are right in place of 90.0%" in found[0].text
    assert all(each.rule != "ND308" for each in with_labels(quiet, 0.96, 0.98).findings), "by chance"


def test_statistics_that_give_no_right_answer_back_are_not_to_blame() -> None:
    drifting = report(changed(network(), moved), decided=0.5)
    assert first(drifting).cause == "stale_statistics"
    assert first(with_labels(drifting, 0.50, 0.95)).cause == "stale_statistics"
    found = first(with_labels(drifting, 0.50, 0.52))
    assert (found.cause, found.remedy.action) == ("domain_shift", "check_training_data")


def test_labels_of_other_numbers_say_nothing() -> None:
    drifting = report(changed(network(), moved), decided=0.5)
    assert AnswerChange(with_labels(drifting, 0.09, 0.11)).labelled is None
    assert first(with_labels(drifting, 0.09, 0.11)).cause == "stale_statistics"


def test_what_serves_worse_by_the_labels_is_no_error() -> None:
    drifting = with_labels(report(changed(network(), moved), decided=0.5), 0.97, 0.80)
    assert drifting.diagnosis and all(each.severity != "error" for each in (*drifting.diagnosis, *drifting.findings))


def test_few_classes_are_known_by_labels_and_not_guessed_by_answers() -> None:
    odd = report(
        changed(network(), lambda each: replace(each, mean=each.mean + 0.2, var=each.var * 1.1), 4, 5), decided=-0.6
    )
    few = with_labels(odd, 0.98, 0.95, classes=1.0, answered=1.1)
    assert [each.cause for each in few.diagnosis] == ["skewed_data"] and "1.0 of 10 classes" in few.diagnosis[
        0
    ].evidence
    all_classes = with_labels(odd, 0.98, 0.95, classes=9.8, answered=1.1)
    assert all(each.cause != "skewed_data" for each in all_classes.diagnosis)


@pytest.mark.parametrize(("gain", "cause"), [(0.5, "stale_statistics"), (0.03, "domain_shift")])
def test_excited_layers_blame_the_statistics_only_where_answers_become_decided(gain: float, cause: str) -> None:
    assert first(report(changed(network(), excited), answers=0.3, decided=gain)).cause == cause


def test_accuracies_come_from_counts_and_only_where_every_sample_has_a_label() -> None:
    marks = Marks(np.array([[1, 6], [2, 11]]), np.array([10, 10, 0]))
    found = held_against_labels(marks, 20)
    assert found is not None and found.accuracy == (0.65, 0.85) and found.newly == (6, 2) and found.classes == 2.0
    assert held_against_labels(marks, 21) is None and held_against_labels(None, 20) is None
