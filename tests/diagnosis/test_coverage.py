"""What a report says of its own reach: 'ok' only where something was judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from normdiag.diagnosis import coverage
from normdiag.records import Report
from normdiag.rules import RULES
from tests.report.reports import (
    DATA,
    drift_of,
    faulty,
    folded_away,
    healthy,
    interrupted,
    on_random_data,
    static_only,
    transformer,
)

ALL = ("parameters", "drift", "gap", "activations")


def judged(report: Report) -> Report:
    return replace(report, coverage=coverage(report, RULES))


def reasons(report: Report) -> dict[str, str]:
    """The first reason for each topic that was not measured."""
    return {each.topic: each.why for each in reversed(judged(report).coverage.missing)}


def test_all_was_measured() -> None:
    assert healthy().verdict == "ok"
    assert healthy().coverage.measured == ALL and healthy().coverage.missing == ()


def test_a_warning_is_a_problem_and_an_information_is_none() -> None:
    warning, info = (next(f for f in faulty().findings if f.severity == s) for s in ("warning", "info"))
    assert replace(healthy(), findings=(warning,)).verdict == "problem"
    assert replace(healthy(), findings=(info,)).verdict == "ok"
    assert replace(static_only(), findings=(warning,)).verdict == "problem"


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (static_only(), "no data was given, and the file holds weights"),
        (replace(static_only(), unused_data="x.npz"), "the data was not used: the file holds weights"),
        (replace(static_only(), why_not_run=None), "no data was given"),
        (on_random_data(), "random data"),
        (interrupted(), "only 1 sample ran"),
        (replace(healthy(), data=replace(DATA, samples=7)), "only 7 samples ran"),
        (replace(healthy(), data=replace(DATA, samples=0)), "before its first sample"),
        (folded_away(), "the exporter folded 19 BatchNorm layers"),
        (replace(folded_away(), folded=()), "no normalization layer was found"),
        (replace(folded_away(), folded=(), skipped=("node 'a': ...",)), "nodes that normalize (1)"),
    ],
)
def test_nothing_judged_is_not_ok(report: Report, why: str) -> None:
    found = judged(report)
    assert found.findings == () and found.verdict == "not_measured"
    assert why in found.coverage.missing[0].why
    assert "drift" not in found.coverage.measured


def test_values_that_are_not_finite_were_not_judged() -> None:
    nan = np.full(16, np.nan)
    broken = replace(healthy(), layers=(replace(healthy().layers[0], drift=drift_of(nan, nan)),))
    assert judged(broken).verdict == "not_measured"


def test_rules_that_do_not_look_at_data_judge_nothing_on_it() -> None:
    static = [rule for rule in RULES if not rule.needs_data]
    report = replace(healthy(), coverage=coverage(healthy(), static))
    assert report.verdict == "not_measured" and "no rule on data" in report.coverage.missing[0].why


def test_layers_without_statistics_are_judged_but_could_not_contradict_the_data() -> None:
    report = judged(transformer())
    assert report.verdict == "ok" and "groups" in report.coverage.measured
    assert "no statistics that the data could contradict" in reasons(report)["drift"]


def test_data_would_not_help_where_the_norms_are_folded() -> None:
    report = judged(replace(folded_away(), data=None, activations=()))
    assert "folded" in report.coverage.missing[0].why
    assert "no data was given" in reasons(report)["activations"]


def test_a_file_folded_in_part_says_so_beside_what_was_measured() -> None:
    report = judged(replace(healthy(), folded=folded_away().folded[:2]))
    assert report.verdict == "ok" and "folded 2 BatchNorm layers" in reasons(report)["drift"]


def test_layers_that_did_not_run_are_named() -> None:
    first, *rest = healthy().layers
    report = replace(healthy(), layers=(replace(first, calls=0, drift=None, own=None), *rest))
    assert reasons(report)["drift"] == "layers that did not run on this data (1): bn1"


@pytest.mark.parametrize(("batch", "why"), [(1, "batches of at least 2"), (8, "no layer normalizes with its running")])
def test_why_there_is_no_gap(batch: int, why: str) -> None:
    assert why in reasons(replace(healthy(), gap=None, data=replace(DATA, batch_size=batch)))["gap"]
