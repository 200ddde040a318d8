"""Tables that fit: short forms first, then fewer columns; names are folded, never cut."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

from normdiag.records.document import Column, Table
from normdiag.render.text.lines import BLANK, Line, StyledText, cells, fitting, pad, wrap
from normdiag.render.text.view import MARGIN, STYLES, TextView

GAP = 2
INDENT = 2
# A name column narrower than this folds names into too many lines: a column of numbers is dropped instead.
NAME_WIDTH = 22


def table(shown: Table, view: TextView) -> Iterator[Line]:
    """A table with a column of marks (where there are findings), one of names, and as many others as fit."""
    marked = any(shown.severities)
    names = [view.safe(name) for name in shown.names]
    room = view.width - MARGIN - (1 + GAP if marked else 0)
    longest = max(map(cells, (*names, shown.title)), default=0)
    chosen = fit(
        [_printable(column, view) for column in shown.columns], room - longest, room - min(longest, NAME_WIDTH)
    )
    width = max(8, min(longest, room - _total(chosen)))
    name = Column(shown.title, ["\n".join(fold(each, width)) for each in names], right=False)
    marks = [Column("", [view.mark(severity) for severity in shown.severities])] if marked else []
    table_columns, widths = [*marks, name, *chosen], [*(1 for _ in marks), width, *map(_width, chosen)]
    yield from _header(table_columns, widths)
    yield (StyledText(" " * MARGIN + view.rule * (sum(widths) + GAP * (len(widths) - 1))),)
    for index, severity in enumerate(shown.severities):
        style = STYLES[severity or ""]
        for texts in zip_longest(*(column.cells[index].split("\n") for column in table_columns), fillvalue=""):
            yield _row([(StyledText(text, style),) for text in texts], table_columns, widths)


def _printable(column: Column, view: TextView) -> Column:
    """The column with every cell printable on one line."""
    short = None if column.short_cells is None else [view.safe(cell) for cell in column.short_cells]
    return replace(column, cells=[view.safe(cell) for cell in column.cells], short_cells=short)


def _width(column: Column) -> int:
    """Columns of the terminal that a column needs; its title may break into two lines."""
    return max(_two_lines(column.title), *map(cells, column.cells), 0)


def _header(columns: Sequence[Column], widths: Sequence[int]) -> Iterator[Line]:
    """The titles, bold, in as many lines as the longest needs, standing on the line below them."""
    titles = [wrap([StyledText(column.title, "bold")], width) for column, width in zip(columns, widths, strict=True)]
    height = max(map(len, titles))
    for level in zip(*([BLANK] * (height - len(title)) + title for title in titles), strict=True):
        yield _row(level, columns, widths)


def _row(texts: Sequence[Line], columns: Sequence[Column], widths: Sequence[int]) -> Line:
    spans: Line = (StyledText(" " * MARGIN),)
    for text, column, width in zip(texts, columns, widths, strict=True):
        spans = (*spans, *pad(text, width, right=column.right), StyledText(" " * GAP))
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
    return sum(_width(column) + GAP for column in columns)


def _two_lines(title: str) -> int:
    """The least width in which a title needs no more than two lines."""
    words = title.split(" ")
    splits = [(" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(len(words))]
    return min(max(cells(first), cells(second)) for first, second in splits)
