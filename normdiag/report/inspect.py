"""What an inspection found, as a document."""

from __future__ import annotations

from normdiag.records import Report
from normdiag.records.document import Document
from normdiag.report.abridge import Detail
from normdiag.report.activations import activations
from normdiag.report.channels import channels
from normdiag.report.folded import folded
from normdiag.report.gap import gap
from normdiag.report.half import half
from normdiag.report.header import header
from normdiag.report.layer_details import focus, layer_details
from normdiag.report.norms import norms
from normdiag.report.notes import notes
from normdiag.report.outliers import outliers
from normdiag.report.reference import reference
from normdiag.report.summary import all_findings, summary


def inspect_document(report: Report, detail: Detail | None = None) -> Document:
    """The model, the findings, the tables and the notes. UsageError where no layer is `detail.channels`."""
    detail = detail or Detail()
    sections = (
        header(report),
        summary(report, detail),
        *(norms(report, detail) if report.layers else ()),
        *reference(report, detail),
        *half(report, detail),
        *outliers(report, detail),
        *folded(report, detail),
        *channels(report, detail),
        *activations(report, detail),
        *gap(report, detail),
        *all_findings(report, detail),
        *notes(report),
    )
    if not detail.figures:
        return Document("normdiag inspect", sections)
    return Document("normdiag inspect", sections, layer_details(report, detail), focus(report))
