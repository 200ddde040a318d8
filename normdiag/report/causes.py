"""Causes as documents, out of their docstrings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normdiag.diagnosis import Cause
from normdiag.records.document import Block, Document, FactList, Paragraph, Phrase, Section, Space, paragraph
from normdiag.report.rules import paragraphs


def causes_document(causes: Sequence[Cause]) -> Document:
    """The causes in full, one below the other."""
    blocks = [block for index, cause in enumerate(causes) for block in _page(cause, first=not index)]
    return Document("", (Section("", tuple(blocks)),))


def list_document(causes: Sequence[Cause]) -> Document:
    """A line or two for each cause."""
    rows = tuple((Phrase(cause.name, "strong"), Phrase(f"{cause.action}: {cause.headline}")) for cause in causes)
    return Document("", (Section("", (FactList(rows),)),))


def _page(cause: Cause, *, first: bool) -> Iterator[Block]:
    if not first:
        yield Space()
    yield Paragraph((Phrase(cause.name, "strong"), Phrase(f"  remedy: {cause.action}", "muted")), 0)
    for each in paragraphs(cause):
        yield Space()
        yield paragraph(each)
