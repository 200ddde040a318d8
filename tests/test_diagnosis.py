"""A quick part of benchmarks/diagnosis.py: the plain faults are found, and on healthy models nothing is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import normdiag
from benchmarks.diagnosis_case import Case, examine, healthy, judge
from benchmarks.diagnosis_faults import DroppingBehind, non_finite, training_mode, with_dropout
from benchmarks.diagnosis_inputs import input_faults
from benchmarks.diagnosis_statistics import edited
from benchmarks.diagnosis_subjects import Subject, digits_subject, without_batch_norm
from normdiag.records import Finding

PLAIN = {
    *(("reset to 0 and 1", ""), ("zeroed", ""), ("mean scaled", "x 4"), ("foreign", "100 %")),
    *(("wrong preprocessing", each) for each in ("0..255", "-1..1", "0..16", "inverted")),
}
STATIC = {"reset to 0 and 1", "zeroed", "NaN in one value", "exported in training mode"}


@pytest.fixture(scope="module")
def subject() -> Subject:
    torch.set_num_threads(1)
    return digits_subject("digits_cnn", "DigitsCNN", "batch", "digits_cnn_foreign")


def plain_cases(subject: Subject) -> Iterator[Case]:
    yield from (case for case in edited(subject) if (case.fault, case.strength) in PLAIN)
    yield from (case for case in input_faults(subject) if (case.fault, case.strength) in PLAIN)
    yield from non_finite(subject)
    yield from training_mode(subject)


def test_plain_faults_cost_accuracy_are_found_and_their_layer_is_named(subject: Subject) -> None:
    results = [examine(case) for case in plain_cases(subject)]
    assert len(results) == 27
    said = {(r.case.fault, r.case.strength, r.case.place): r.data.texts for r in results}
    assert all(result.costs for result in results), said
    assert all(result.data.found and result.data.first for result in results), said
    silent = [r.case for r in results if r.case.fault in STATIC and not (r.graph and r.graph.found)]
    assert not silent, "these show in the .onnx file without data"


def test_small_faults_are_put_down_to_the_layer_where_they_begin(subject: Subject) -> None:
    """Off by less than the limit in one layer, by more in those behind it."""
    wanted = {("mean scaled", "x 0.25", "norm1"), ("variance scaled", "x 4", "norm1"), ("foreign", "50 %", "norm1")}
    cases = [case for case in edited(subject) if (case.fault, case.strength, case.place) in wanted]
    assert len(cases) == 3
    assert all(examine(case).data.first for case in cases)


def test_a_layer_that_is_somewhat_off_alone_is_named(subject: Subject) -> None:
    wanted = {("channels permuted", "25 %", "norm2"), ("variance scaled", "x 2", "norm2")}
    cases = [case for case in edited(subject) if (case.fault, case.strength, case.place) in wanted]
    results = [examine(case) for case in cases]
    assert len(results) == 2
    assert all(result.costs and result.data.first for result in results)
    assert all("ND301" in result.data.rules and not result.data.error for result in results)


def test_dropout_that_still_drops_is_found_in_the_export(subject: Subject, tmp_path: Path) -> None:
    module = DroppingBehind(0.5)
    module.load_state_dict(
        {re.sub("^(norm[23])", r"\1.0", name): value for name, value in subject.module.state_dict().items()}
    )
    for active in (True, False):
        with_dropout(module, tmp_path / "model.onnx", active=active)
        findings = normdiag.inspect(tmp_path / "model.onnx").findings
        assert [each.layer for each in findings if each.rule == "ND210"] == ["norm2.1.dropout"] * active


def test_healthy_models_have_no_errors_or_warnings(subject: Subject) -> None:
    mlp = digits_subject("digits_mlp_batch_5000", "DigitsMLP", "batch")
    for each, way in [(s, "data") for s in (subject, mlp, *without_batch_norm())] + [
        (subject, "graph"),
        (mlp, "graph"),
    ]:
        found = [(f.rule, f.layer) for f in healthy(each, way) if f.severity != "info"]
        assert not found, (each.name, way)


def test_what_the_healthy_model_has_too_is_no_verdict(subject: Subject) -> None:
    case = Case(subject, "fault", "", "norm2", frozenset(("norm2",)))
    known = Finding("ND103", "n", "warning", "high", ("norm2",), "", "")
    new = Finding("ND301", "drift", "error", "high", ("norm3",), "", "")
    assert not judge(case, [known], [known]).found
    verdict = judge(case, [new, known], [])
    assert (verdict.found, verdict.named, verdict.first, verdict.elsewhere) == (True, True, False, 1)


def test_a_fault_that_only_information_speaks_of_is_not_found(subject: Subject) -> None:
    verdict = judge(
        Case(subject, "fault", "", "a", frozenset("a")), [Finding("ND106", "n", "info", "high", ("a",), "", "")], []
    )
    assert (verdict.found, verdict.named, verdict.rules) == (False, True, ())
