"""The fold report as text."""

from __future__ import annotations

from collections.abc import Iterator

from normdiag.records import FoldReport
from normdiag.render.fold.parts import folded, header, proof, ranges, stays, summary
from normdiag.render.layout import Line, paint
from normdiag.render.parts.notes import bullets
from normdiag.render.text import NARROWEST
from normdiag.render.view import ASCII, UNICODE, View


def render_fold(
    report: FoldReport, *, width: int, color: bool, all_layers: bool = False, ascii_only: bool = False
) -> str:
    """The report in lines of at most `width` columns, ending in a newline. Names from the file are made printable."""
    view = View(max(width, NARROWEST), all_layers, None, ASCII if ascii_only else UNICODE)
    return paint(_parts(report, view), color=color)


def _parts(report: FoldReport, view: View) -> Iterator[Line]:
    yield from header(report, view)
    yield from summary(report, view)
    yield from folded(report, view)
    yield from stays(report, view)
    yield from proof(report, view)
    yield from ranges(report, view)
    yield from bullets("Notes", [view.safe(note) for note in (*report.notes, *report.model.notes)], view)
