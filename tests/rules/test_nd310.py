"""ND310: what a precision plan says, as findings, and the cause that explains them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from normdiag.diagnosis import CAUSES, diagnosed
from normdiag.records import Finding, Report
from normdiag.records.precision import KeptNorm, PrecisionPlan
from normdiag.report.half_tools import tool_arguments
from normdiag.rules import RULES, with_findings
from tests.report.half_report import half_precision


def planned(*kept: KeptNorm, all_kept: float = 0.001, planned: float = 0.001) -> Report:
    report = half_precision()
    assert report.half is not None
    plan = PrecisionPlan(kept, 0.5, 0.001, planned, all_kept, max(2 * all_kept, 0.004), True, 4, 9, "somewhere")
    quiet = tuple(replace(each, groups=None) for each in report.layers)  # nothing for ND306 to say
    return replace(report, layers=quiet, half=replace(report.half, plan=plan), findings=(), diagnosis=())


def found(report: Report) -> list[Finding]:
    return [each for each in with_findings(report, RULES).findings if each.rule == "ND310"]


@pytest.mark.parametrize(
    ("own", "severity"), [(0.001, "warning"), (0.11, "error"), (math.inf, "error"), (None, "warning")]
)
def test_it_is_an_error_where_kernels_that_sum_in_float32_lose_it_too(own: float | None, severity: str) -> None:
    (finding,) = found(planned(KeptNorm("norm", ("n",), 0.9, own)))
    assert (finding.layers, finding.severity) == (("norm",), severity)
    assert finding.evidence["error"] == 0.9 and "off by 0.9" in finding.text


def test_nothing_is_said_of_a_plan_that_keeps_nothing_or_of_data_that_was_made_up() -> None:
    assert found(planned()) == []
    report = planned(KeptNorm("norm", ("n",), 0.9, 0.9))
    assert report.data is not None
    assert found(replace(report, data=replace(report.data, random=True))) == []
    assert found(replace(report, half=None)) == []


@pytest.mark.parametrize("rest", [math.inf, 0.4])
def test_a_model_that_no_norm_helps_is_one_finding_on_the_whole(rest: float) -> None:
    kept = () if math.isinf(rest) else (KeptNorm("norm"),)
    report = planned(*kept, all_kept=rest, planned=rest)
    findings = found(report)
    if math.isinf(rest):
        assert [(each.layers, each.severity) for each in findings] == [((), "error")]
        assert "not finite" in findings[0].text


def test_the_cause_holds_all_that_follows_and_says_what_to_keep() -> None:
    report = half_precision()
    (cause,) = [each for each in report.diagnosis if each.cause == "half_precision"]
    assert cause.layers == ("norm", "blocks.1.norm2") and cause.severity == "error"
    assert {rule for rule, _ in cause.explains} == {"ND306", "ND310", "ND108"}
    assert cause.remedy.text.startswith("Keep these layers in float32")
    report = diagnosed(with_findings(planned(KeptNorm("norm", ("n",), 0.9, 0.001)), RULES), CAUSES)
    assert (report.diagnosis[0].cause, report.diagnosis[0].severity) == ("half_precision", "warning")


def test_the_arguments_of_each_tool_name_the_nodes_and_survive_a_shell() -> None:
    report = half_precision()
    assert report.half is not None
    given = tool_arguments(report.half, report.model)
    assert set(given) == {"trtexec", "onnxruntime", "modelopt"}
    assert "--onnx='tiny llama.onnx' --fp16 --precisionConstraints=obey" in given["trtexec"]
    assert "/norm/Mul:fp32,/norm/ReduceMean:fp32" in given["trtexec"]
    assert "node_block_list=['/blocks.1/norm2/Mul', '/blocks.1/norm2/ReduceMean', '/norm/Mul'" in given["onnxruntime"]
    assert r"'^/blocks\.1/norm2/Mul$'" in given["modelopt"]
    wide = tool_arguments(replace(report.half, target="bf16"), report.model)
    assert set(wide) == {"trtexec", "modelopt"} and "--bf16" in wide["trtexec"]
    module = tool_arguments(report.half, replace(report.model, backend="pytorch"))
    assert module == {"torch": "['blocks.1.norm2', 'norm']"}
    assert tool_arguments(replace(report.half, plan=None), report.model) == {}
    odd = PrecisionPlan((KeptNorm("n", ("a,b", "")),), 1.0, 1.0, 0.0, 0.0, 0.1, True, 4, 4, "x")
    assert "trtexec" not in tool_arguments(replace(report.half, plan=odd), report.model)
