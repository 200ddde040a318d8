"""Tables that fit: short forms first, then fewer columns; names are folded, never cut."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from normdiag.records import Severity
from normdiag.render.layout import BLANK, Line, Span, cells, fitting, pad, wrap
from normdiag.render.view import MARGIN, STYLES, View

GAP = 2
INDENT = 2
# A name column narrower than this folds names into too many lines: a column of numbers is dropped instead.
NAME_WIDTH = 22


@dataclass(frozen=True)
class Column:
    """A column of finished cells. `short` forms, where given, are used when the table is too wide as it is.

    Columns with the lowest `keep` are dropped first when even that does not fit; None is never dropped.
    """

    title: str
    cells: Sequence[str]
    short_title: str | None = None
    short_cells: Sequence[str] | None = None
    keep: int | None = None
    right: bool = True

    def shortened(self) -> Column:
        """The same column in its short form."""
        title = self.title if self.short_title is None else self.short_title
        cells = self.cells if self.short_cells is None else self.short_cells
        return Column(title, cells, keep=self.keep, right=self.right)

    @property
    def width(self) -> int:
        """Columns of the terminal that it needs; a title may break into two lines."""
        return max(_two_lines(self.title), *map(cells, self.cells), 0)


@dataclass(frozen=True)
class Rows:
    """What names the rows of a table: a title, the names, and the severest finding of each."""

    title: str
    names: Sequence[str]
    severities: Sequence[Severity | None]


def name_table(rows: Rows, columns: Sequence[Column], view: View) -> Iterator[Line]:
    """A table with a column of marks (where there are findings), one of names, and as many others as fit."""
    marked = any(rows.severities)
    room = view.width - MARGIN - (1 + GAP if marked else 0)
    longest = max(map(cells, (*rows.names, rows.title)), default=0)
    chosen = fit(columns, room - longest, room - min(longest, NAME_WIDTH))
    width = max(8, min(longest, room - _total(chosen)))
    name = Column(rows.title, ["\n".join(fold(each, width)) for each in rows.names], right=False)
    marks = [Column("", [view.mark(severity) for severity in rows.severities])] if marked else []
    table, widths = [*marks, name, *chosen], [*(1 for _ in marks), width, *(column.width for column in chosen)]
    yield from _header(table, widths)
    yield (Span(" " * MARGIN + view.glyphs.line * (sum(widths) + GAP * (len(widths) - 1))),)
    for index, severity in enumerate(rows.severities):
        style = STYLES[severity] if severity else ""
        for texts in zip_longest(*(column.cells[index].split("\n") for column in table), fillvalue=""):
            yield _row([(Span(text, style),) for text in texts], table, widths)


def _header(table: Sequence[Column], widths: Sequence[int]) -> Iterator[Line]:
    """The titles, bold, in as many lines as the longest needs, standing on the line below them."""
    titles = [wrap([Span(column.title, "bold")], width) for column, width in zip(table, widths, strict=True)]
    height = max(map(len, titles))
    for level in zip(*([BLANK] * (height - len(title)) + title for title in titles), strict=True):
        yield _row(level, table, widths)


def _row(texts: Sequence[Line], table: Sequence[Column], widths: Sequence[int]) -> Line:
    spans: Line = (Span(" " * MARGIN),)
    for text, column, width in zip(texts, table, widths, strict=True):
        spans = (*spans, *pad(text, width, right=column.right), Span(" " * GAP))
    return spans


def fit(columns: Sequence[Column], room: int, most: int) -> list[Column]:
    """The columns, those that matter least shortened to leave names whole, and dropped to leave them readable.

    `room` columns of the terminal are left beside whole names, `most` beside folded ones.
    """
    chosen = list(columns)
    for index in sorted(range(len(chosen)), key=lambda i: _need(chosen[i])):
        if _total(chosen) > room:
            chosen[index] = chosen[index].shortened()
    while _total(chosen) > most and any(column.keep is not None for column in chosen):
        chosen.remove(min(chosen, key=_need))
    return chosen


def fold(name: str, width: int) -> list[str]:
    """A name in lines of at most `width`, broken after a separator where there is one; no character is lost.

    Lines after the first are indented, so that they are not taken for names.
    """
    lines, margin, room = [], "", width
    while cells(name) > room:
        end = fitting(name, room)
        cut = _break(name, "./", end, room) or _break(name, "_-:", end, room) or end
        lines.append(margin + name[:cut])
        name, margin, room = name[cut:], " " * INDENT, width - INDENT
    return [*lines, margin + name]


def _break(name: str, separators: str, end: int, width: int) -> int:
    """The place before `end` after the last separator; 0 where a break there leaves most of the line empty."""
    cut = max(name.rfind(separator, 0, end) for separator in separators) + 1
    return cut if cut > width // 3 else 0


def _need(column: Column) -> float:
    return math.inf if column.keep is None else column.keep


def _total(columns: Sequence[Column]) -> int:
    return sum(column.width + GAP for column in columns)


def _two_lines(title: str) -> int:
    """The least width in which a title needs no more than two lines."""
    words = title.split(" ")
    splits = [(" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(len(words))]
    return min(max(cells(first), cells(second)) for first, second in splits)
