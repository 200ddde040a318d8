"""What `normdiag.preprocess` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from normdiag.records.document import Document
from normdiag.records.preparation import PreparationReport
from normdiag.report.abridge import Detail
from normdiag.results.shown import Shown


@dataclass(frozen=True, repr=False)
class PreparationResult(Shown, PreparationReport):
    """A ranking that shows itself: the members are those of `PreparationReport`."""

    def document(self, detail: Detail | None = None) -> Document:
        """What `normdiag preprocess` says."""
        from normdiag.report.preprocess import preprocess_document

        return preprocess_document(self, detail)

    def to_dict(self) -> dict[str, Any]:
        """What `normdiag preprocess --json` prints; docs/preprocess.schema.json describes it."""
        from normdiag.render.preprocess_json import preprocess_to_json

        return preprocess_to_json(self)
