"""What `normdiag.inspect` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from normdiag.records import LayerMetrics, Report
from normdiag.records.document import Document
from normdiag.report.abridge import Detail
from normdiag.results.shown import Shown
from normdiag.results.tables import Library, TableOf, data_frame, rows


@dataclass(frozen=True, eq=False, repr=False)
class Inspection(Shown, Report):
    """A report that shows itself: the members are those of `Report`.

    >>> import normdiag
    >>> found = normdiag.inspect("sample_models/digits_cnn.onnx", data=["sample_models/digits.npz"])
    >>> found
    <Inspection: ok: drift 0.0... ± 0.0... at norm3, gap ...% of answers, 0 of 112 units dead>
    >>> found.layer("norm2").drift
    <Drift: 0.0... ± 0.0... over 32 channels, largest 0.0... in channel ...; 359 samples>
    >>> found.layer("norm2").drift.upper < 0.1
    True
    """

    def document(self, detail: Detail | None = None) -> Document:
        """What `normdiag inspect` says."""
        from normdiag.report.inspect import inspect_document

        return inspect_document(self, detail)

    def to_dict(self) -> dict[str, Any]:
        """What `normdiag inspect --json` prints; docs/report.schema.json describes it."""
        from normdiag.render.json import to_json

        return to_json(self)

    def headline(self) -> str:
        """Verdict, cause and the figures that matter most."""
        from normdiag.report.headline import headline

        return headline(self)

    def layer(self, name: str) -> LayerMetrics:
        """The normalization layer of that name. Raises UsageError with the nearest names where there is none."""
        from normdiag.report.channel_values import find_layer

        return find_layer(self, name)

    def to_dataframe(
        self, of: TableOf = "layers", *, channels: str | None = None, library: Library | None = None
    ) -> Any:
        """A data frame with a row for each layer, activation or finding, or for each channel of one layer.

        `channels` is the name of that layer. The frame is of `library`: without it of pandas, or of polars where only
        that is installed or imported. Raises UsageError where neither is installed, and as `layer` does.
        """
        return data_frame(rows(self, of, channels), library)
