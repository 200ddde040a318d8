"""Exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from normdiag.records import CheckReport, Finding, FoldReport, Report
    from normdiag.records.recalibration import RecalibrationReport

CLEAN = 0
FOUND = 1
UNUSABLE = 2
INTERRUPTED = 130


def exit_code(report: Report, *, require_data: bool = False) -> int:
    """130 for a run that was interrupted, 1 where a finding is an error or, if required, nothing was judged on data."""
    if report.interrupted:
        return INTERRUPTED
    unjudged = require_data and not report.coverage.judged
    return FOUND if unjudged or _has_error(report.findings) else CLEAN


def fold_exit_code(report: FoldReport) -> int:
    """1 where the fold was not verified or a finding is an error, else 0."""
    failed = report.verification is not None and not report.verification.passed
    return FOUND if failed or _has_error(report.findings) else CLEAN


def recalibration_exit_code(report: RecalibrationReport) -> int:
    """1 where the result is worse on held-out samples and was not accepted all the same, else 0."""
    return FOUND if report.outcome == "worse" and report.written is None else CLEAN


def check_exit_code(report: CheckReport) -> int:
    """130 for a run that was interrupted, 2 where a model could not be checked, 1 where the gate fails, else 0."""
    if report.interrupted:
        return INTERRUPTED
    if report.unreadable:
        return UNUSABLE
    return CLEAN if report.passed else FOUND


def _has_error(findings: Iterable[Finding]) -> bool:
    return any(finding.severity == "error" for finding in findings)
