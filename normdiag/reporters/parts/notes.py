"""What could not be measured and why, and what was done to the file on the way."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from normdiag.records import Report
from normdiag.reporters.parts.tables import section
from normdiag.reporters.view import MARGIN, View
from normdiag.reporters.words import listed


def notes(report: Report, view: View) -> Iterator[RenderableType]:
    """The report's notes, the file's, and those of layers, each said once."""
    lines = [*map(view.safe, report.notes), *map(view.safe, report.model.notes), *_of_layers(report, view)]
    if not lines:
        return
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=1)
    table.add_column(overflow="fold")
    for line in dict.fromkeys(lines):
        table.add_row(view.glyphs.dot if not view.ascii_only else "-", Text(line))
    yield section("Notes", Padding(table, (0, max(view.width - view.prose, 0), 0, MARGIN)), view=view)


def _of_layers(report: Report, view: View) -> Iterator[str]:
    """'bn1, bn2 and 17 more: the note'."""
    by_note: dict[str, list[str]] = {}
    for metrics in report.layers:
        for note in metrics.layer.notes:
            by_note.setdefault(note, []).append(view.name(metrics.layer.name))
    for note, names in by_note.items():
        yield f"{listed(names)}: {view.safe(note)}"
