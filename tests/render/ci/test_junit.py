"""JUnit XML: against the schema, and what passes, fails and is skipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st

from normdiag.records import CheckedModel, CheckReport
from normdiag.render.ci.junit import render_junit
from tests.report.checks import CHECKS, IDS, finding, not_run, several, unjudged
from tests.report.reports import healthy, on_random_data, static_only

SCHEMA = xmlschema.XMLSchema(Path(__file__).parent / "junit-subset.xsd")


def parsed(check: CheckReport) -> ET.Element:
    text = render_junit(check)
    assert text.isascii()
    root = ET.fromstring(text)
    SCHEMA.validate(root)
    return root


def cases(check: CheckReport, outcome: str) -> list[tuple[str | None, str | None]]:
    return [
        (case.get("classname"), (case.get("name") or "")[:5])
        for case in parsed(check).iter("testcase")
        if case.find(outcome) is not None
    ]


def test_the_schema_refuses() -> None:
    for wrong in ("<testsuites><x/></testsuites>", '<testsuite name="a"/>', '<testsuites tests="many"/>'):
        assert not SCHEMA.is_valid(ET.fromstring(wrong))


@pytest.mark.parametrize("name", CHECKS)
def test_documents_satisfy_the_schema_and_count_right(name: str) -> None:
    root = parsed(CHECKS[name]())
    for each in (root, *root.iter("testsuite")):
        found = list(each.iter("testcase"))
        assert int(each.get("tests", "")) == len(found)
        assert int(each.get("failures", "")) == sum(case.find("failure") is not None for case in found)
        assert int(each.get("errors", "")) == sum(case.find("error") is not None for case in found)


def test_a_suite_for_each_model_and_a_case_for_each_rule() -> None:
    suites = parsed(several()).findall("testsuite")
    assert [suite.get("name") for suite in suites] == [model.path for model in several().models]
    assert [len(suite.findall("testcase")) for suite in suites] == [len(IDS), len(IDS), len(IDS), 1]


def test_what_fails_is_what_fails_the_gate() -> None:
    assert cases(several(), "failure") == [("models/faulty.onnx", "ND301")]
    strict = replace(several(), fail_on="warning")
    assert cases(strict, "failure") == [("models/faulty.onnx", "ND301"), ("models/static.pt", "ND103")]
    assert cases(replace(several(), fail_on="never"), "failure") == []


def test_known_findings_and_those_below_the_gate_are_said() -> None:
    root = parsed(several())
    said = "\n".join(out.text or "" for out in root.iter("system-out"))
    assert "bn1: 3 of 16 values are not finite -> Export the model again. (known)" in said
    assert "layer3.8.relu: 41 of 64 units are dead" in said


def test_the_message_names_the_first_and_the_text_all() -> None:
    found = (finding("ND101", "a"), finding("ND101", "b"))
    check = CheckReport((CheckedModel("n", replace(healthy(), findings=found), rules=IDS),), IDS)
    (failure,) = parsed(check).iter("failure")
    assert (failure.get("message") or "").startswith("a: ") and "1 more" in (failure.get("message") or "")
    assert len((failure.text or "").splitlines()) == 2


def test_rules_that_lack_data_are_skipped() -> None:
    on_data = [("n", rule) for rule in IDS if rule[2] in "34"]
    for report in (static_only(), on_random_data()):
        check = CheckReport((CheckedModel("n", report, rules=IDS),), IDS)
        assert cases(check, "skipped") == on_data
    assert cases(CHECKS["one_clean"](), "skipped") == []


def test_an_unreadable_model_is_an_error() -> None:
    (error,) = parsed(several()).iter("error")
    assert error.get("message") == "the zip archive has no directory at its end: the file is truncated"


@given(st.text(max_size=40), st.text(max_size=40))
def test_nothing_in_a_file_breaks_the_document(layer: str, path: str) -> None:
    report = replace(static_only(), findings=(finding("ND101", layer, f"{layer}: x"),))
    models = (CheckedModel(path, report, rules=IDS), CheckedModel(path, error=f"{layer}{path}"))
    parsed(CheckReport(models, IDS))


def test_data_that_was_not_used_has_a_skip_reason_of_its_own() -> None:
    root = parsed(not_run())
    reasons = {skipped.get("message") for skipped in root.iter("skipped")}
    assert reasons == {"the data was not used: the file holds weights alone"}
    (error,) = root.iter("error")
    assert error.get("type") == "not-run" and len(list(root.iter("failure"))) == 1


def test_the_verdict_is_a_property_and_a_required_judgement_an_error() -> None:
    root = parsed(unjudged())
    assert [each.get("value") for each in root.iter("property")] == ["ok", "not_measured", "not_measured"]
    assert list(root.iter("error")) == []
    errors = list(parsed(replace(unjudged(), require_data=True)).iter("error"))
    assert [each.get("type") for each in errors] == ["not-measured", "not-measured"]
    assert "no data was given" in errors[0].get("message") and "folded" in errors[1].get("message")
