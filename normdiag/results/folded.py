"""What `normdiag.fold` returns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from normdiag.folding.backend import Folded
from normdiag.records import FoldPlan, FoldReport, Verification
from normdiag.records.document import Document
from normdiag.report.abridge import Detail
from normdiag.results.shown import Shown


@dataclass(frozen=True, eq=False, repr=False)
class FoldResult(Shown):
    """What came of a fold. `folded` is None for a dry run."""

    report: FoldReport
    folded: Folded | None = None

    @cached_property
    def model(self) -> Any:
        """The folded model: an onnx.ModelProto for an ONNX file, else a torch.nn.Module that takes the same inputs."""
        return None if self.folded is None else self.folded.model

    @property
    def plan(self) -> FoldPlan:
        """What was folded, what is not folded and why."""
        return self.report.plan

    @property
    def verification(self) -> Verification | None:
        """The verification, None where it was not asked for."""
        return self.report.verification

    def document(self, detail: Detail | None = None) -> Document:
        """What `normdiag fold` says."""
        from normdiag.report.fold import fold_document

        return fold_document(self.report, detail)

    def to_dict(self) -> dict[str, Any]:
        """What `normdiag fold --json` prints; docs/fold.schema.json describes it."""
        from normdiag.render.fold_json import fold_to_json

        return fold_to_json(self.report)
