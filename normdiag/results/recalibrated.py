"""What `normdiag.recalibrate` returns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from normdiag.observe.protocol import ReplacedStatistics
from normdiag.recalibration.target import Recalibratable
from normdiag.records.document import Document
from normdiag.records.recalibration import RecalibrationReport
from normdiag.report.abridge import Detail
from normdiag.results.shown import Shown


@dataclass(frozen=True, eq=False, repr=False)
class RecalibrationResult(Shown):
    """What came of it: the report, and the new statistics by layer name (none where the old ones stay)."""

    report: RecalibrationReport
    statistics: dict[str, ReplacedStatistics]
    target: Recalibratable

    @cached_property
    def model(self) -> Any:
        """The model with the new statistics: an onnx.ModelProto for an ONNX file, else a torch.nn.Module, a copy."""
        return self.target.result(self.statistics)

    def document(self, detail: Detail | None = None) -> Document:
        """What `normdiag recalibrate` says."""
        from normdiag.report.recalibrate import recalibration_document

        return recalibration_document(self.report, detail)

    def to_dict(self) -> dict[str, Any]:
        """What `normdiag recalibrate --json` prints; docs/recalibrate.schema.json describes it."""
        from normdiag.render.recalibration_json import recalibration_to_json

        return recalibration_to_json(self.report)
