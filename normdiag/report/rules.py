"""Rules as documents, out of their docstrings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from normdiag.records.document import Block, Document, FactList, Paragraph, Phrase, Section, Space, paragraph
from normdiag.report.words import number
from normdiag.rules import Rule


class Documented(Protocol):
    """What has a docstring: a rule, a cause."""

    @property
    def doc(self) -> str:
        """The docstring, without indentation."""
        ...


def paragraphs(rule: Documented) -> list[str]:
    """The documentation as paragraphs of one line each."""
    return [" ".join(part.split()) for part in rule.doc.split("\n\n") if part.strip()]


def rules_document(rules: Sequence[Rule]) -> Document:
    """The rules in full, one below the other."""
    blocks = [block for index, rule in enumerate(rules) for block in _page(rule, first=not index)]
    return Document("", (Section("", tuple(blocks)),))


def list_document(rules: Sequence[Rule]) -> Document:
    """A line or two for each rule."""
    rows = tuple(
        (Phrase(f"{rule.id} {rule.severity}", rule.severity), Phrase(f"{rule.name}: {rule.headline}")) for rule in rules
    )
    return Document("", (Section("", (FactList(rows),)),))


def _page(rule: Rule, *, first: bool) -> Iterator[Block]:
    if not first:
        yield Space()
    title = (Phrase(f"{rule.id} {rule.name}", "strong"), Phrase(f"  {rule.severity}", rule.severity))
    yield Paragraph(title, 0)
    for each in paragraphs(rule):
        yield Space()
        yield paragraph(each)
    yield Space()
    yield paragraph(_limits(rule), "muted")


def _limits(rule: Rule) -> str:
    known = ", ".join(f"{name} = {number(value)}" for name, value in rule.limits.items())
    return f"{'Needs data' if rule.needs_data else 'Needs no data'}. Limits: {known or 'none'}."
