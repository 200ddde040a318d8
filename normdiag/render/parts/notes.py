"""What could not be measured and why, and what was done to the file on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normdiag.records import Report
from normdiag.render.layout import Line, Span
from normdiag.render.parts.prose import heading, labelled
from normdiag.render.view import View
from normdiag.render.words import listed


def notes(report: Report, view: View) -> Iterator[Line]:
    """The report's notes, the file's, and those of layers, each said once."""
    safe = [*map(view.safe, report.notes), *map(view.safe, report.model.notes), *_of_layers(report, view)]
    yield from bullets("Notes", safe, view)


def bullets(title: str, lines: Sequence[str], view: View) -> Iterator[Line]:
    """A heading and a list of safe lines, each said once; nothing where there are none."""
    if not lines:
        return
    bullet = Span("-" if view.ascii_only else view.glyphs.dot)
    yield from heading(title, view)
    yield from labelled([(bullet, Span(line)) for line in dict.fromkeys(lines)], view, gap=1)


def _of_layers(report: Report, view: View) -> Iterator[str]:
    """'bn1, bn2 and 17 more: the note'."""
    by_note: dict[str, list[str]] = {}
    for metrics in report.layers:
        for note in metrics.layer.notes:
            by_note.setdefault(note, []).append(view.name(metrics.layer.name))
    for note, names in by_note.items():
        yield f"{listed(names)}: {view.safe(note)}"
