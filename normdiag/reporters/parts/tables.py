"""Tables that fit: short forms first, then fewer columns; names are folded, never cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD, Box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from normdiag.records import Severity
from normdiag.reporters.view import MARGIN, STYLES, View

GAP = 2
INDENT = 2
# A name column narrower than this folds names into too many lines: a column of numbers is dropped instead.
NAME_WIDTH = 22
ASCII_HEAD = Box(str(SIMPLE_HEAD).replace("─", "-"), ascii=True)


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
        return max(_two_lines(self.title), *map(cell_len, self.cells), 0)


@dataclass(frozen=True)
class Rows:
    """What names the rows of a table: a title, the names, and the severest finding of each."""

    title: str
    names: Sequence[str]
    severities: Sequence[Severity | None]


def name_table(rows: Rows, columns: Sequence[Column], view: View) -> RenderableType:
    """A table with a column of marks (where there are findings), one of names, and as many others as fit."""
    marked = any(rows.severities)
    room = view.width - MARGIN - (1 + GAP if marked else 0)
    longest = max(map(cell_len, (*rows.names, rows.title)), default=0)
    fitting = fit(columns, room - longest, room - min(longest, NAME_WIDTH))
    name_width = max(8, min(longest, room - _total(fitting)))
    table = Table(box=ASCII_HEAD if view.ascii_only else SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.padding = (0, GAP - 1, 0, 0)
    if marked:
        table.add_column("", width=1)
    table.add_column(rows.title, width=name_width, vertical="bottom")
    for column in fitting:
        table.add_column(column.title, width=column.width, justify="right" if column.right else "left")
    for index, (name, severity) in enumerate(zip(rows.names, rows.severities, strict=True)):
        style = STYLES[severity] if severity else ""
        cells = [Text(column.cells[index], style=style) for column in fitting]
        mark = [Text(view.mark(severity), style=style)] if marked else []
        table.add_row(*mark, Text(fold(name, name_width), style=style), *cells)
    return Padding(table, (0, 0, 0, MARGIN))


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


def _need(column: Column) -> float:
    return math.inf if column.keep is None else column.keep


def _total(columns: Sequence[Column]) -> int:
    return sum(column.width + GAP for column in columns)


def _two_lines(title: str) -> int:
    """The least width in which a title needs no more than two lines."""
    words = title.split(" ")
    splits = [(" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(len(words))]
    return min(max(cell_len(first), cell_len(second)) for first, second in splits)


def fold(name: str, width: int) -> str:
    """A name in lines of at most `width`, broken after a separator where there is one; no character is lost.

    Lines after the first are indented, so that they are not taken for names.
    """
    lines: list[str] = []
    room = width
    while cell_len(name) > room:
        end = _fitting(name, room)
        cut = _break(name, "./", end, room) or _break(name, "_-:", end, room) or end
        lines.append(name[:cut])
        name, room = name[cut:], width - INDENT
    return f"\n{' ' * INDENT}".join([*lines, name])


def _break(name: str, separators: str, end: int, width: int) -> int:
    """The place before `end` after the last separator; 0 where a break there leaves most of the line empty."""
    cut = max(name.rfind(separator, 0, end) for separator in separators) + 1
    return cut if cut > width // 3 else 0


def _fitting(name: str, width: int) -> int:
    """How many leading characters fit into `width` columns; at least one."""
    used = 0
    for index, character in enumerate(name):
        used += cell_len(character)
        if used > width:
            return max(index, 1)
    return len(name)


def section(title: str, *body: RenderableType, legend: str = "", view: View) -> RenderableType:
    """A titled part of the report, with a blank line before it and an explaining line after its title."""
    parts: list[RenderableType] = [Text(""), Text(title, style="bold")]
    if legend:
        parts.append(prose(legend, view, style="dim"))
    return Group(*parts, *body)


def prose(text: str | Text, view: View, *, indent: int = MARGIN, style: str = "") -> RenderableType:
    """Running text of readable width, folded where a word is longer than the line."""
    body = Text(text, style=style, overflow="fold") if isinstance(text, str) else text
    return Padding(body, (0, max(view.width - view.prose, 0), 0, indent))


def pairs(rows: Sequence[tuple[str, str | Text]], view: View) -> RenderableType:
    """Label and value, one pair a line, values aligned."""
    table = Table.grid(padding=(0, GAP, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(label, value)
    return Padding(table, (0, max(view.width - view.prose, 0), 0, MARGIN))
