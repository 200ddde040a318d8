"""What happened and what to do about it, a block for each cause, the most important first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from normdiag.records import Diagnosis, Finding, Report
from normdiag.records.document import Block, Paragraph, Phrase, Space, paragraph
from normdiag.report.words import MARKS, count, shortened


def causes(report: Report, where: str) -> Iterator[Block]:
    """Each cause with its evidence, its remedy and how much follows from it; `where` says how to see that."""
    for index, each in enumerate(report.diagnosis):
        if index:
            yield Space()
        yield from _cause(each, report.findings, where, first=not index)


def unexplained(report: Report) -> tuple[Finding, ...]:
    """The findings that no cause explains."""
    return tuple(
        each for each in report.findings if not any(d.covers(each.rule, each.layers) for d in report.diagnosis)
    )


def _cause(each: Diagnosis, findings: Sequence[Finding], where: str, *, first: bool) -> Iterator[Block]:
    opening = "Problem: " if first and each.severity != "info" else ""
    summary = each.summary if not opening else each.summary[0].lower() + each.summary[1:]
    mark = MARKS[each.severity]
    title = Phrase(shortened(f"{mark} {opening}{summary}"), each.severity)
    yield Paragraph((title, Phrase(f"  {each.cause}, {each.confidence} confidence", "muted")))
    yield paragraph(shortened(_sentence(each)), level=2)
    for line in _doubt(each):
        yield paragraph(shortened(line), level=2)
    arrow = Phrase("→ ", each.severity)
    if each.remedy.command is None:
        yield Paragraph((arrow, Phrase(shortened(each.remedy.text))), level=2)
    else:
        yield paragraph(shortened(each.remedy.text), level=2)
        yield Paragraph((arrow, Phrase(shortened(each.remedy.command), "command")), level=2)
    followed = sum(each.covers(found.rule, found.layers) for found in findings)
    if followed:
        yield paragraph(f"explains {count(followed, 'finding')} ({where})", "muted", level=2)


def _sentence(each: Diagnosis) -> str:
    """The evidence with a capital, unless it begins with the name of a layer."""
    named = re.split(r"[,: ]", each.evidence, maxsplit=1)[0] in each.layers
    return f"{each.evidence if named else each.evidence[0].upper() + each.evidence[1:]}."


def _doubt(each: Diagnosis) -> Iterator[str]:
    """What looks the same on this data, and what would tell."""
    if each.alternatives:
        others = " or ".join(each.alternatives)
        yield f"Looks the same: {others}." + (f" To tell: {each.test}." if each.test else "")
