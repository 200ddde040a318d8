"""Checks made by hand."""

from __future__ import annotations

from dataclasses import replace

from normdiag.diagnosis import coverage
from normdiag.records import CheckedModel, CheckReport, Finding, KnownFinding
from normdiag.rules import RULES
from tests.report.reports import faulty, folded_away, healthy, hostile, static_only

IDS = tuple(rule.id for rule in RULES)
UNREADABLE = "models/broken.pt: the zip archive has no directory at its end: the file is truncated"


def finding(rule: str, layer: str | None, message: str = "", severity: str = "error") -> Finding:
    name = next(each.name for each in RULES if each.id == rule)
    text = message or "3 of 16 values are not finite"
    layers = () if layer is None else (layer,)
    return Finding(rule, name, severity, "high", layers, text, "Export the model again.", {"count": 3})  # type: ignore[arg-type]


def one_clean() -> CheckReport:
    return CheckReport((CheckedModel("net.onnx", healthy(), seconds=0.21, rules=IDS),), IDS)


def several() -> CheckReport:
    """A faulty model on data, a clean one on data, a static one with a known finding, and an unreadable one."""
    static = replace(
        static_only(),
        findings=(finding("ND101", "bn1"), finding("ND103", "layer1.0.bn1", "2 channels", "warning")),
    )
    return CheckReport(
        (
            CheckedModel("models/faulty.onnx", faulty(), seconds=3.214, rules=IDS),
            CheckedModel("models/clean.onnx", healthy(), seconds=0.8, rules=IDS),
            CheckedModel("models/static.pt", static, seconds=0.02, rules=IDS, known={("ND101", "bn1"): "error"}),
            CheckedModel("models/broken.pt", error=UNREADABLE, seconds=0.001),
        ),
        IDS,
        "error",
        "baseline.json",
        (
            KnownFinding("models/static.pt", "ND104", "bn1", "error"),
            KnownFinding("models/gone.pt", "ND302", None, "warning"),
        ),
    )


def unjudged() -> CheckReport:
    """A model judged on data, one read for its weights, and one whose norms are folded away."""
    return CheckReport(
        (
            CheckedModel("models/clean.onnx", healthy(), seconds=0.8, rules=IDS),
            CheckedModel("models/static.pt", static_only(), seconds=0.02, rules=IDS),
            CheckedModel("models/export.onnx", folded_away(), seconds=0.02, rules=IDS),
        ),
        IDS,
    )


def nasty() -> CheckReport:
    """Names and messages that would break XML, JSON, annotations, tables or the terminal."""
    report = hostile()
    names = [metrics.layer.name for metrics in report.layers]
    bad = [finding("ND101", name, "::error file=x::100%,\r\n]]> <b>|`*_ \x00\ufffe\udc80") for name in names]
    path = "a,b:c%d/\x1b[31m\n::warning::\ud800 é<&>\"'|].onnx"
    return CheckReport(
        (
            CheckedModel(path, replace(report, findings=tuple(bad)), rules=IDS),
            CheckedModel("x" * 5000 + ".pt", error="\x00\x1b]0;t\x07 <![CDATA[ ]]> \ud800", rules=()),
        ),
        IDS,
    )


def not_run() -> CheckReport:
    """Weights with a finding, and data that they could not be run on."""
    why = "the file holds weights alone"
    static = replace(static_only(), findings=(finding("ND101", "bn1"),), why_not_run=why, unused_data="x.npz")
    static = replace(static, coverage=coverage(static, RULES))
    error = "net.pt: the data was not used: the file holds weights alone"
    return CheckReport((CheckedModel("net.pt", static, error, rules=IDS),), IDS)


CHECKS = {"one_clean": one_clean, "several": several, "nasty": nasty, "not_run": not_run, "unjudged": unjudged}
