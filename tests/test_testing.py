"""`assert_healthy` fails with the diagnosis, unless what it found is allowed, and where nothing was judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from normdiag import testing
from normdiag.errors import UsageError
from normdiag.records import Finding, Report
from normdiag.results.inspection import Inspection
from normdiag.results.shown import result_of
from sample_models.net import DigitsCNN
from tests.nets.digits import digits_cnn
from tests.report import reports


@pytest.fixture
def data(samples: Path) -> list[str]:
    return [str(samples / "digits.npz")]


@pytest.fixture
def averaged() -> DigitsCNN:
    return digits_cnn("digits_cnn_averaged")


def no_graph() -> dict[str, Any]:
    """Without the rules for which the model is exported."""
    from normdiag.rules import RULES

    return {"rules": [each for each in RULES if not each.needs_graph]}


def test_a_healthy_model_passes_and_its_report_comes_back(samples: Path, data: list[str]) -> None:
    assert testing.assert_healthy(samples / "digits_cnn.onnx", data=data).verdict == "ok"


def test_the_failure_says_cause_remedy_and_how_to_accept_it(averaged: DigitsCNN, data: list[str]) -> None:
    with pytest.raises(AssertionError) as failed:
        testing.assert_healthy(averaged, data=data, **no_graph())
    text = str(failed.value)
    assert text.startswith("DigitsCNN is not healthy")
    assert "stale_statistics" in text and "Recalibrate" in text and "allow=['stale_statistics']" in text


def test_an_allowed_cause_takes_all_that_follows_from_it(averaged: DigitsCNN, data: list[str]) -> None:
    report = testing.assert_healthy(averaged, data=data, allow=["stale_statistics"], **no_graph())
    assert report.verdict == "problem", "the report is what was found, allowed or not"


def test_what_was_not_measured_is_not_healthy(samples: Path) -> None:
    with pytest.raises(AssertionError, match="no data was given"):
        testing.assert_healthy(samples / "digits_cnn.onnx")
    with pytest.raises(AssertionError, match="random data"):
        testing.assert_healthy(samples / "digits_cnn.onnx", data=["random"])


def faulty_twice() -> Report:
    """An error of some layers and a warning of the model as a whole."""
    report = reports.faulty()
    whole = Finding("ND302", "batch-eval-gap", "warning", "medium", (), "the outputs differ", "look")
    return replace(report, findings=(*report.findings, whole))


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Inspection]:
    """`assert_healthy` on a report made by hand."""
    found = result_of(Inspection, faulty_twice())
    monkeypatch.setattr(testing, "inspect", lambda model, batches, **options: found)

    def check(**options: Any) -> Inspection:
        return testing.assert_healthy("model.pt", [], **options)

    return check


def severe() -> list[str]:
    return sorted({each.rule for each in faulty_twice().findings if each.severity != "info"})


def test_every_finding_that_counts_must_be_allowed(faulty: Callable[..., Inspection]) -> None:
    assert len(severe()) >= 2
    faulty(allow=severe())
    for one in severe():
        with pytest.raises(AssertionError, match=one):
            faulty(allow=[each for each in severe() if each != one])


def test_layers_are_allowed_by_glob(faulty: Callable[..., Inspection]) -> None:
    layered = next(each for each in faulty_twice().findings if each.severity != "info" and each.layers)
    others = [each for each in severe() if each != layered.rule]
    faulty(allow=[*others, f"{layered.rule}:*"])
    with pytest.raises(AssertionError, match=layered.rule):
        faulty(allow=[*others, f"{layered.rule}:elsewhere.*"])


def test_the_gate_can_be_that_of_check(faulty: Callable[..., Inspection]) -> None:
    errors = sorted({each.rule for each in faulty_twice().findings if each.severity == "error"})
    faulty(allow=errors, fail_on="error")
    with pytest.raises(AssertionError, match="ND302"):
        faulty(allow=errors)


def test_a_word_that_means_nothing_is_refused(faulty: Callable[..., Inspection]) -> None:
    with pytest.raises(UsageError, match="nor is there a cause"):
        faulty(allow=["staled_statistics"])
