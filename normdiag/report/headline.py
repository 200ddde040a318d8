"""A report in one line: verdict, cause and the figures that matter most."""

from __future__ import annotations

from collections.abc import Iterator

from normdiag.records import Report
from normdiag.report.verdict import counted
from normdiag.report.words import KIND_WORDS, count, percent, short_name, with_error


def headline(report: Report) -> str:
    """'problem, never_updated (high confidence): drift 1.2 ± 0.1 at bn1, gap 31.0% of answers, 3 of 640 units dead'."""
    figures = ", ".join(_figures(report))
    return f"{_verdict(report)}: {figures}" if figures else _verdict(report)


def _verdict(report: Report) -> str:
    if report.verdict == "not_measured":
        return "not measured" + (f" ({report.coverage.missing[0].why})" if report.coverage.missing else "")
    if report.verdict == "ok":
        return "ok"
    if not report.diagnosis:
        return f"problem, {counted(report.findings)}"
    first = report.diagnosis[0]
    more = f" and {count(len(report.diagnosis) - 1, 'more cause')}" if len(report.diagnosis) > 1 else ""
    return f"problem, {first.cause} ({first.confidence} confidence){more}"


def _figures(report: Report) -> Iterator[str]:
    drifts = [(each.layer.name, each.drift) for each in report.layers if each.drift is not None]
    known = [(name, drift) for name, drift in drifts if drift.corrected == drift.corrected]
    if known:
        name, worst = max(known, key=lambda item: item[1].corrected)
        yield f"drift {with_error(worst.corrected, worst.se)} at {short_name(name)}"
    elif report.layers:
        kinds = {each.layer.kind for each in report.layers}
        yield count(len(report.layers), f"{KIND_WORDS[kinds.pop()][0] if len(kinds) == 1 else 'normalization'} layer")
    if report.gap is not None:
        disagreement = report.gap.top1_disagreement
        of_what = "of the output" if disagreement is None else "of answers"
        yield f"gap {percent(report.gap.relative_rms if disagreement is None else disagreement)} {of_what}"
    if report.activations:
        dead, units = (sum(getattr(each, of) for each in report.activations) for of in ("dead_units", "units"))
        yield f"{dead:,} of {units:,} units dead"
