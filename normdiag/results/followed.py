"""What `normdiag.history` and `normdiag.interpolate` return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from normdiag.records.document import Document
from normdiag.records.history import HistoryReport
from normdiag.records.path import PathReport
from normdiag.report.abridge import Detail
from normdiag.results.shown import Shown


@dataclass(frozen=True, eq=False, repr=False)
class HistoryResult(Shown, HistoryReport):
    """A history that shows itself: the members are those of `HistoryReport`."""

    def document(self, detail: Detail | None = None) -> Document:
        """What `normdiag history` says."""
        from normdiag.report.history import history_document

        return history_document(self, detail)

    def to_dict(self) -> dict[str, Any]:
        """What `normdiag history --json` prints."""
        from normdiag.render.history_formats import history_to_json

        return history_to_json(self)

    def to_csv(self) -> str:
        """What `normdiag history --csv` prints."""
        from normdiag.render.history_formats import history_csv

        return history_csv(self)

    def headline(self) -> str:
        """How many checkpoints of what."""
        from normdiag.report.words import count, shortened

        return f"{count(len(self.steps), 'checkpoint')} on {count(self.samples, 'sample')} of {shortened(self.source)}"


@dataclass(frozen=True, eq=False, repr=False)
class PathResult(Shown, PathReport):
    """The line between two checkpoints that shows itself: the members are those of `PathReport`."""

    def document(self, detail: Detail | None = None) -> Document:
        """What `normdiag history --path` says."""
        from normdiag.report.path import path_document

        return path_document(self, detail)

    def to_dict(self) -> dict[str, Any]:
        """What `normdiag history --path --json` prints."""
        from normdiag.render.history_formats import path_to_json

        return path_to_json(self)

    def to_csv(self) -> str:
        """What `normdiag history --path --csv` prints."""
        from normdiag.render.history_formats import path_csv

        return path_csv(self)

    def headline(self) -> str:
        """How far the loss rises between the two."""
        from normdiag.report.path import barriers

        return barriers(self)
