"""What `normdiag.diff` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from normdiag.records.diff import DiffReport
from normdiag.records.document import Document
from normdiag.report.abridge import Detail
from normdiag.results.shown import Shown


@dataclass(frozen=True, eq=False, repr=False)
class DiffResult(Shown, DiffReport):
    """A comparison that shows itself: the members are those of `DiffReport`."""

    def document(self, detail: Detail | None = None) -> Document:
        """What `normdiag diff` says."""
        from normdiag.report.diff import diff_document

        return diff_document(self, detail)

    def to_dict(self) -> dict[str, Any]:
        """What `normdiag diff --json` prints; docs/diff.schema.json describes it."""
        from normdiag.render.diff_json import diff_to_json

        return diff_to_json(self)
