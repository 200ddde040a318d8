"""The answer first: whether there is a problem, what was measured, and what was not and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normdiag.records import Finding, Report, Topic, Unmeasured, Verdict
from normdiag.records.document import Block, Paragraph, Phrase, Role, paragraph
from normdiag.report.diagnosis import causes
from normdiag.report.words import SEVERITIES, count, fixed, percent, shortened

WORDS: dict[Topic, str] = {
    "parameters": "stored parameters",
    "drift": "drift, input preparation",
    "groups": "normalized groups",
    "gap": "batch-vs-eval gap",
    "activations": "saturation, dead units",
}
VERDICT_MARKS: dict[Verdict, str] = {"problem": "✗", "not_measured": "?", "ok": "✓"}
ROLES: dict[Verdict, Role] = {"problem": "error", "not_measured": "warning", "ok": "good"}


def verdict(report: Report, where: str = "--all") -> Iterator[Block]:
    """The verdict, then what it rests on; `where` says how to see the findings that a cause explains."""
    found, missing = report.verdict, report.coverage.missing
    if found == "problem" and report.diagnosis:
        yield from causes(report, where)
    else:
        yield paragraph(shortened(f"{VERDICT_MARKS[found]} {_headline(report)}"), ROLES[found])
    told = missing[0] if found == "not_measured" and missing else None
    if told is not None and told.remedy is not None:
        yield Paragraph((Phrase("→ ", ROLES[found]), Phrase(shortened(told.remedy))), level=2)
    if report.coverage.measured:
        yield paragraph(f"Measured: {_measured(report)}.")
    if missing:
        yield paragraph(shortened(f"Not measured: {'; '.join(_reasons(missing, told))}."))


def counted(found: Sequence[Finding]) -> str:
    """'1 error, 2 warnings, 3 for information'."""
    numbers = {severity: sum(each.severity == severity for each in found) for severity in SEVERITIES}
    counts = [count(n, severity) for severity, n in numbers.items() if n and severity != "info"]
    counts += [f"{numbers['info']:,} for information"] if numbers["info"] else []
    return ", ".join(counts)


def _headline(report: Report) -> str:
    if report.verdict == "ok":
        return f"OK: {'; '.join(_reassuring(report)) or 'no problem in what was measured'}."
    if report.verdict == "problem":
        return f"Problem: {counted(report.findings)}."
    return f"Not measured: {report.coverage.missing[0].why}." if report.coverage.missing else "Not measured."


def _reassuring(report: Report) -> Iterator[str]:
    """The few figures that show it."""
    drifts = [each.drift for each in report.layers if each.drift is not None]
    if drifts:
        largest = max(drifts, key=lambda drift: drift.corrected)
        yield f"the stored statistics fit this data (drift {fixed(largest.corrected)} at most)"
    entering = [] if report.reference is None else [e for e in report.reference.points if e.point.role != "output"]
    if entering:
        most = max(each.drift.corrected for each in entering)
        yield f"what enters the layers is as in the reference (drift {fixed(most)} at most)"
    if report.gap is not None and report.gap.top1_disagreement is not None:
        yield f"batch statistics would change {percent(report.gap.top1_disagreement)} of the answers"
    dead = sum(each.dead_units for each in report.activations)
    if report.activations:
        yield f"{dead:,} of {sum(each.units for each in report.activations):,} units dead"


def _measured(report: Report) -> str:
    topics = ", ".join(WORDS[topic] for topic in report.coverage.measured)
    if report.data is None or report.coverage.measured == ("parameters",):
        return topics
    return f"{topics} ({count(report.data.samples, 'sample')})"


def _reasons(missing: Sequence[Unmeasured], told: Unmeasured | None) -> Iterator[str]:
    """The topics, those of one reason together, each with its reason and remedy unless the headline told them."""
    by_reason: dict[tuple[str, str | None], list[str]] = {}
    for each in missing:
        by_reason.setdefault((each.why, each.remedy), []).append(WORDS[each.topic])
    for (why, remedy), topics in by_reason.items():
        reason = why if remedy is None else f"{why}: {remedy}"
        yield ", ".join(topics) + ("" if told is not None and told.why == why else f" ({reason})")
