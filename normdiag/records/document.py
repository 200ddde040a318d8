"""A report as what is said, without how it looks: sections of paragraphs, facts, lists, tables, findings and figures.

Every renderer shows the same document. Strings may hold anything that stood in a file: the renderer makes them safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from normdiag.records.figures import Chart, LayerDetail
from normdiag.records.report import Severity

Role = Literal["", "strong", "command", "muted", "good", "passed", "caution", "bad", "error", "warning", "info"]


@dataclass(frozen=True)
class Phrase:
    """Words in one role: emphasis, a command to paste, or a severity."""

    text: str
    role: Role = ""


@dataclass(frozen=True)
class Paragraph:
    """Running text. `level` says how deep it is nested, 0 for not at all."""

    phrases: tuple[Phrase, ...]
    level: int = 1


@dataclass(frozen=True)
class Space:
    """Room between two blocks."""


@dataclass(frozen=True)
class FactList:
    """Names and values."""

    rows: tuple[tuple[Phrase, Phrase], ...]


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class FindingGroup:
    """The findings of one rule with one remedy: a message for each, and how many more are not shown."""

    severity: Severity
    title: str
    messages: tuple[str, ...]
    hidden: int
    remedy: str
    level: int = 1


@dataclass(frozen=True)
class Column:
    """A column of finished cells. `short` forms, where given, are for where the table is too wide as it is.

    Columns with the lowest `keep` are dropped first where even that does not fit; None is never dropped.
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


@dataclass(frozen=True)
class Table:
    """Rows with a name each, under `title`, the severest finding of each, and columns of values."""

    title: str
    names: Sequence[str]
    severities: Sequence[Severity | None]
    columns: Sequence[Column]


Block = Paragraph | Space | FactList | Bullets | FindingGroup | Table | Chart


@dataclass(frozen=True)
class Section:
    """Blocks under a title; the `legend` explains what stands below it. Without a title it follows on.

    `opening`: it belongs to the first screen: the answer, or what it is about.
    """

    title: str
    blocks: tuple[Block, ...]
    legend: str = ""
    opening: bool = False


@dataclass(frozen=True)
class Document:
    """A title, empty for none, and sections.

    `layers` are there in detail where one of them can be chosen; `focus` is the name of the first to look at, if any.
    """

    title: str
    sections: tuple[Section, ...]
    layers: tuple[LayerDetail, ...] = ()
    focus: str = ""


def paragraph(text: str, role: Role = "", *, level: int = 1) -> Paragraph:
    """A paragraph in one role."""
    return Paragraph((Phrase(text, role),), level)


def facts(*rows: tuple[str, str | Phrase]) -> FactList:
    """Names and values; rows without a value are left out."""
    phrases = ((Phrase(name, "muted"), Phrase(value) if isinstance(value, str) else value) for name, value in rows)
    return FactList(tuple(row for row in phrases if row[1].text))
