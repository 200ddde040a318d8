"""Running text: titles, paragraphs and lists, of readable width in a terminal of any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normdiag.render.layout import BLANK, Line, Span, cells, pad, wrap
from normdiag.render.view import MARGIN, View


def heading(title: str, view: View, legend: str = "") -> Iterator[Line]:
    """A blank line, a title, and a line or more that explain what stands below."""
    yield BLANK
    yield from wrap([Span(title, "bold")], view.width)
    if legend:
        yield from prose(legend, view, style="dim")


def prose(text: str | Sequence[Span], view: View, *, indent: int = MARGIN, style: str = "") -> Iterator[Line]:
    """A paragraph."""
    spans = [Span(text, style)] if isinstance(text, str) else text
    for line in wrap(spans, view.prose - indent):
        yield (Span(" " * indent), *line)


def labelled(rows: Sequence[tuple[Span, Span]], view: View, *, gap: int) -> Iterator[Line]:
    """Label and text, texts aligned `gap` columns beside the longest label."""
    width = max(cells(label.text) for label, _ in rows) + gap
    for label, text in rows:
        for index, line in enumerate(wrap([text], view.prose - MARGIN - width)):
            first = pad((label,), width) if index == 0 else (Span(" " * width),)
            yield (Span(" " * MARGIN), *first, *line)


def pairs(rows: Sequence[tuple[str, str | Span]], view: View) -> Iterator[Line]:
    """Name and value of a few facts."""
    spans = [(Span(name, "dim"), Span(value) if isinstance(value, str) else value) for name, value in rows]
    return labelled(spans, view, gap=2)
