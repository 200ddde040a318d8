"""The cause and the action that a reader takes from the findings alone, until a report holds a diagnosis."""

from __future__ import annotations

from benchmarks.diagnosis.score import Answer
from normdiag.records import Finding, Report

BY_RULE = {
    "ND101": ("non_finite", "reload_weights"),
    "ND102": ("non_finite", "reload_weights"),
    "ND103": ("dead_channels", "none"),
    "ND104": ("never_updated", "recalibrate"),
    "ND105": ("not_warmed_up", "recalibrate"),
    "ND106": ("dead_channels", "reload_weights"),
    "ND107": ("wrong_convention", "recalibrate"),
    "ND108": ("half_precision", "reexport"),
    "ND110": ("stale_statistics", "recalibrate"),
    "ND201": ("batch_dependent", "reexport"),
    "ND204": ("dropout_before_norm", "recalibrate"),
    "ND209": ("foreign_statistics", "recalibrate"),
    "ND210": ("batch_dependent", "reexport"),
    "ND302": ("", "none"),
    "ND303": ("input_preparation", "fix_input"),
    "ND304": ("small_batches", "reexport"),
    "ND306": ("half_precision", "reexport"),
    "ND401": ("saturation", "retrain"),
    "ND402": ("dead_channels", "retrain"),
    "ND403": ("saturation", "retrain"),
}
RECIPES = {"0..255 in place of 0..1": "unit", "0..255 in place of mean and standard deviation": "imagenet"}


def answer(report: Report, known: frozenset[tuple[str, str | None]]) -> Answer | None:
    """The first new warning or error; the layer of the first new finding that names one."""
    new = [each for each in report.findings if (each.rule, each.layer) not in known and each.severity != "info"]
    if not new:
        return None
    located = [layer for layer in map(_layer, new) if layer]
    causes = [_cause(each) for each in new]
    best = next((each for each in causes if each[0]), ("", "none"))
    option = next((recipe for each in new for text, recipe in RECIPES.items() if text in each.text), None)
    return Answer(best[0], tuple(located), (), best[1], option)


def _layer(finding: Finding) -> str | None:
    worst = finding.evidence.get("worst_layer")
    return finding.layer or (None if worst is None else str(worst))


def _cause(finding: Finding) -> tuple[str, str]:
    if finding.rule == "ND301":
        at_input = "input is prepared" in finding.remedy
        return ("input_preparation", "fix_input") if at_input else ("stale_statistics", "recalibrate")
    return BY_RULE.get(finding.rule, ("", "none"))
