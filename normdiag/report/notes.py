"""What could not be measured and why, and what was done to the file on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normdiag.records import Report
from normdiag.records.document import Bullets, Section
from normdiag.report.words import listed, short_name, shortened


def notes(report: Report) -> Iterator[Section]:
    """The report's notes, the file's, and those of layers, each said once."""
    yield from bullets("Notes", [*report.notes, *report.model.notes, *_of_layers(report)])


def bullets(title: str, lines: Sequence[str]) -> Iterator[Section]:
    """A list under a title, each line said once; nothing where there are none."""
    if lines:
        yield Section(title, (Bullets(tuple(map(shortened, dict.fromkeys(lines)))),))


def _of_layers(report: Report) -> Iterator[str]:
    """'bn1, bn2 and 17 more: the note'."""
    by_note: dict[str, list[str]] = {}
    for metrics in report.layers:
        for note in metrics.layer.notes:
            by_note.setdefault(note, []).append(short_name(metrics.layer.name))
    for note, names in by_note.items():
        yield f"{listed(names)}: {note}"
