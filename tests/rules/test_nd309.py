"""ND309 and the causes after it: what has moved from a reference, from where on, and what that means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from normdiag.diagnosis import CAUSES, coverage, diagnosed
from normdiag.records import (
    DataInfo,
    Diagnosis,
    Drift,
    Finding,
    ModelInfo,
    Point,
    PointRole,
    ProfiledData,
    ProfiledModel,
    Report,
)
from normdiag.records.reference import PointDrift, ReferenceComparison
from normdiag.rules import RULES, with_findings
from tests.report.reports import drift_of, random_drift

INFO = ModelInfo("m.onnx", "onnx", "onnx", None, 1, 1)
DATA = DataInfo("val/", 500, 32, 16, preprocess="unit (default for 8-bit data)")
POINTS: tuple[tuple[PointRole, str, str], ...] = (
    ("input", "x", ""),
    ("norm", "norm1", "group_norm"),
    ("activation", "relu1", "relu"),
    ("output", "y", ""),
)
QUIET = (0.004, 0.005, 0.006, 0.007)


def comparison(*drifts: Drift, preprocess: str | None = "unit (default for 8-bit data)") -> ReferenceComparison:
    points = tuple(PointDrift(Point(*point), Point(*point), drift) for point, drift in zip(POINTS, drifts, strict=True))
    model = ProfiledModel("m.pt", "torch-zip", "pytorch", None, 1)
    return ReferenceComparison("train.profile", model, ProfiledData(("train/",), 1000, preprocess), points)


def sized(*sizes: float) -> ReferenceComparison:
    return comparison(*(random_drift(index, 16, size) for index, size in enumerate(sizes)))


def judged(found: ReferenceComparison, data: DataInfo = DATA) -> Report:
    report = Report(INFO, data, (), reference=found)
    return diagnosed(with_findings(report, [rule for rule in RULES if not rule.needs_graph]), CAUSES)


def finding(report: Report) -> Finding | None:
    return next((each for each in report.findings if each.rule == "ND309"), None)


def cause(report: Report) -> Diagnosis:
    (found,) = report.diagnosis
    return found


def test_what_is_as_in_the_reference_is_no_finding_and_judged() -> None:
    report = judged(sized(*QUIET))
    assert finding(report) is None and not report.diagnosis
    found = coverage(report, RULES)
    assert "drift" in found.measured and found.judged and all(each.topic != "drift" for each in found.missing)
    assert replace(report, coverage=found).verdict == "ok"


def test_what_is_not_surely_there_is_no_finding() -> None:
    wide = drift_of(np.full(16, 0.3), np.ones(16), se=0.3)
    assert finding(judged(comparison(wide, wide, wide, wide))) is None


def test_the_first_point_in_the_order_of_the_network_is_named_first() -> None:
    found = finding(judged(sized(0.004, 0.2, 2.0, 0.3)))
    assert found is not None and found.layers == ("norm1", "relu1", "y") and found.severity == "error"
    assert "at 'relu1'" in found.text and found.evidence["first"] == "norm1"


@pytest.mark.parametrize(
    ("sizes", "severity"),
    [((0.2, 0.2, 0.2, 0.2), "warning"), ((3.0, 3.0, 0.1, 0.1), "error"), ((3.0, 3.0, 0.004, 0.004), "warning")],
)
def test_it_is_an_error_where_it_is_large_and_reaches_an_output(sizes: tuple[float, ...], severity: str) -> None:
    found = finding(judged(sized(*sizes)))
    assert found is not None and found.severity == severity


def test_values_that_are_not_finite_are_an_error_and_never_quiet() -> None:
    nan = np.full(16, np.nan)
    report = judged(comparison(*(drift_of(nan, nan) for _ in POINTS)))
    found = finding(report)
    assert found is not None and found.severity == "error" and "not finite" in found.text
    assert not coverage(report, RULES).judged


def test_it_is_silent_on_random_data() -> None:
    assert finding(judged(sized(3.0, 3.0, 3.0, 3.0), replace(DATA, random=True))) is None


def test_an_input_that_moved_by_one_factor_is_prepared_otherwise() -> None:
    scaled = drift_of(np.full(16, 2.0), np.full(16, 255.0))
    found = cause(judged(comparison(scaled, *(random_drift(i, 16, 0.5) for i in range(3)))))
    assert (found.cause, found.confidence) == ("input_preparation", "high")
    assert "255 times as widely spread" in found.evidence and found.layers[0] == "x"
    assert found.alternatives == ("domain_shift",) and found.remedy.option is None


def test_an_input_that_moved_somehow_may_be_either() -> None:
    found = cause(judged(sized(0.2, 0.2, 0.2, 0.2)))
    assert (found.cause, found.confidence, found.alternatives) == ("input_preparation", "medium", ("domain_shift",))


def test_another_preparation_is_named_with_the_command_that_undoes_it() -> None:
    moved = [random_drift(index, 16, 0.8) for index in range(4)]
    found = cause(judged(comparison(*moved, preprocess="imagenet")))
    assert (found.cause, found.confidence, found.alternatives) == ("input_preparation", "high", ())
    assert found.remedy.option == "imagenet"
    assert found.remedy.command == "normdiag inspect m.onnx --data val/ --preprocess imagenet --reference train.profile"


def test_another_preparation_that_moved_nothing_is_no_problem() -> None:
    drifts = [random_drift(index, 16, size) for index, size in enumerate(QUIET)]
    assert not judged(comparison(*drifts, preprocess="imagenet")).diagnosis


def test_an_unmoved_input_before_layers_that_moved_is_data_of_another_kind() -> None:
    found = cause(judged(sized(0.004, 0.3, 0.2, 0.2)))
    assert (found.cause, found.alternatives) == ("domain_shift", ("input_preparation",))
    assert found.layers[0] == "norm1" and "from 'norm1' on" in found.evidence


def test_an_output_alone_that_moved_is_not_put_down_to_the_data() -> None:
    report = judged(sized(0.004, 0.005, 0.006, 2.0))
    found = finding(report)
    assert found is not None and "compare the last layers of the two models" in found.remedy
    assert not report.diagnosis and report.verdict == "problem"
