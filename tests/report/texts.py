"""Reports as the text that people read."""

from __future__ import annotations

from normdiag.records import CheckReport, FoldReport, Report
from normdiag.render.text import render_text
from normdiag.report.abridge import Detail
from normdiag.report.check import check_document
from normdiag.report.fold import fold_document
from normdiag.report.inspect import inspect_document


def inspect_text(
    report: Report,
    *,
    width: int,
    color: bool = False,
    all_layers: bool = False,
    channels: str | None = None,
    ascii_only: bool = False,
) -> str:
    document = inspect_document(report, Detail(all_layers, channels))
    return render_text(document, width=width, color=color, ascii_only=ascii_only)


def fold_text(report: FoldReport, *, width: int, all_layers: bool = False, ascii_only: bool = False) -> str:
    return render_text(fold_document(report, Detail(all_layers)), width=width, color=False, ascii_only=ascii_only)


def check_text(check: CheckReport, *, width: int, ascii_only: bool = False) -> str:
    return render_text(check_document(check), width=width, color=False, ascii_only=ascii_only)
