"""The first entry of a report's diagnosis, as the score reads it."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.diagnosis.score import Answer
from normdiag.diagnosis import CAUSES, diagnosed
from normdiag.records import Report
from normdiag.rules import RULES, with_findings

# Takes less for granted where it knows the graph.
WITH_GRAPH = "ND401"


def answer(report: Report) -> Answer | None:
    """Concluded anew from what was measured, so that a change of rules or causes needs no run of the models."""
    entries = [each for each in concluded(report).diagnosis if each.severity != "info"]
    if not entries:
        return None
    first = entries[0]
    return Answer(first.cause, first.layers, first.alternatives, first.remedy.action, first.remedy.option)


def concluded(report: Report) -> Report:
    """The report with findings and diagnosis as they would be now; what the graph of the model said is kept."""
    graph = tuple(each for each in report.findings if each.rule.startswith("ND2") or each.rule == WITH_GRAPH)
    found = with_findings(report, [rule for rule in RULES if not rule.needs_graph and rule.id != WITH_GRAPH]).findings
    return diagnosed(replace(report, findings=(*found, *graph), diagnosis=()), CAUSES)
