"""What `normdiag.check` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from normdiag.records import CheckReport
from normdiag.records.document import Document
from normdiag.report.abridge import Detail
from normdiag.results.shown import Shown


@dataclass(frozen=True, eq=False, repr=False)
class CheckResult(Shown, CheckReport):
    """A check that shows itself: the members are those of `CheckReport`."""

    def document(self, detail: Detail | None = None) -> Document:
        """What `normdiag check` says."""
        from normdiag.report.check import check_document

        return check_document(self, detail)

    def to_dict(self) -> dict[str, Any]:
        """What `normdiag check --format json` prints; docs/check.schema.json describes it."""
        from normdiag.render.ci.json import check_to_json

        return check_to_json(self)

    def headline(self) -> str:
        """Whether the gate holds, and why not."""
        from normdiag.report.check_phrases import verdict

        return verdict(self)
