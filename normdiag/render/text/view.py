"""How text is shown: width, glyphs, and what each role looks like."""

from __future__ import annotations

from dataclasses import dataclass

from normdiag.records import Severity
from normdiag.records.document import Role
from normdiag.report.words import MARKS, safe

MARGIN = 2
# Prose wider than this is hard to read, however wide the terminal.
PROSE_WIDTH = 110
# Narrower than this no table can be read: lines may then be longer than the terminal.
NARROWEST = 40
STYLES: dict[Role, str] = {
    "": "",
    "strong": "bold",
    "command": "bold",
    "muted": "dim",
    "good": "green",
    "passed": "bold green",
    "caution": "bold yellow",
    "bad": "bold red",
    "error": "bold red",
    "warning": "yellow",
    "info": "cyan",
}


@dataclass(frozen=True)
class TextView:
    """The options of one rendering."""

    width: int
    ascii_only: bool = False

    @property
    def prose(self) -> int:
        """Columns for running text."""
        return min(self.width, PROSE_WIDTH)

    @property
    def bullet(self) -> str:
        """What a list's items begin with."""
        return self.safe("·")

    @property
    def rule(self) -> str:
        """What the line under a table's titles is made of."""
        return self.safe("─")

    def safe(self, text: str) -> str:
        """Text that may come from a file, printable on one line."""
        return safe(text, ascii_only=self.ascii_only)

    def mark(self, severity: Severity | None) -> str:
        """The sign before a row that has a finding, so that nothing rests on colour alone."""
        return self.safe(MARKS[severity]) if severity else ""
