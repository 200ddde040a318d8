"""A check as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from normdiag.records import CheckedModel, CheckReport, Finding
from normdiag.report.check_phrases import (
    STALE,
    problem,
    reason,
    skipped_line,
    stale_lines,
    status,
    unjudged_lines,
    verdict,
    worst,
)
from normdiag.report.words import MESSAGE_LIMIT, NAME_LIMIT, SEVERITIES, safe

# What Markdown or HTML would read as markup; ':' and '.' only where they would make an emoji or a link.
SPECIAL = re.compile(r"[\\`*_\[\]<>|~#$&!@]|:(?=\S)|(?<=www)\.")
SIGNS = {"error": "❌", "warning": "⚠️", "info": "ℹ️", None: "✅"}
UNJUDGED = "❔"


def render_markdown(check: CheckReport) -> str:
    """A verdict, a table of the models, and the findings of each."""
    return "\n".join(_lines(check)) + "\n"


def escape(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Text from a file as one line of plain text, in a table too."""
    return SPECIAL.sub(r"\\\g<0>", safe(text, limit=limit))


def _lines(check: CheckReport) -> Iterator[str]:
    yield from ("# normdiag check", "", f"**{verdict(check)}**", "")
    yield from _table(check.models)
    for model in check.models:
        if model.error is not None or model.findings:
            yield from _model(model)
    unjudged = unjudged_lines(check)
    if unjudged:
        yield from ("", "## Not judged on data", "", *(f"- {escape(line)}" for line in unjudged))
    if check.skipped:
        yield from ("", escape(skipped_line(check)))
    if check.stale:
        yield from ("", f"## {STALE}", "", *(f"- {escape(line)}" for line in stale_lines(check)))


def _table(models: Sequence[CheckedModel]) -> Iterator[str]:
    yield from ("| | model | layers | result | seconds |", "|---|---|---:|---|---:|")
    for model in models:
        layers = "" if model.report is None else f"{len(model.report.layers):,}"
        name = escape(model.path, NAME_LIMIT)
        yield f"| {_sign(model)} | {name} | {layers} | {status(model)} | {model.seconds:.2f} |"


def _sign(model: CheckedModel) -> str:
    return SIGNS[worst(model)] if model.judged or worst(model) else UNJUDGED


def _model(model: CheckedModel) -> Iterator[str]:
    yield from ("", f"## {escape(model.path, NAME_LIMIT)}", "")
    if model.error is not None:
        yield f"{(problem(model) or '').capitalize()}: {escape(reason(model))}"
        if not model.findings:
            return
        yield ""
    yield from ("| | rule | finding | what to do |", "|---|---|---|---|")
    for finding in sorted(model.findings, key=lambda each: SEVERITIES.index(each.severity)):
        yield _row(finding, known=model.is_known(finding))


def _row(finding: Finding, *, known: bool) -> str:
    doubt = "" if finding.confidence == "high" else f" ({finding.confidence} confidence)"
    message = escape(finding.message) + doubt + (" (known)" if known else "")
    sign = f"{SIGNS[finding.severity]} {finding.severity}"
    return f"| {sign} | {finding.rule} {finding.name} | {message} | {escape(finding.remedy)} |"
