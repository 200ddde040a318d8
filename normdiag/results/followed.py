"""What `normdiag.history` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from normdiag.records.document import Document
from normdiag.records.history import HistoryReport
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

    def headline(self) -> str:
        """How many checkpoints of what."""
        from normdiag.report.words import count, shortened

        return f"{count(len(self.steps), 'checkpoint')} on {count(self.samples, 'sample')} of {shortened(self.source)}"
