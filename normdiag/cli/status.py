"""Exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from normdiag.records import CheckReport, Report

CLEAN = 0
FOUND = 1
UNUSABLE = 2
INTERRUPTED = 130


def exit_code(report: Report) -> int:
    """130 for a run that was interrupted, 1 where a finding is an error, else 0."""
    if report.interrupted:
        return INTERRUPTED
    return FOUND if any(finding.severity == "error" for finding in report.findings) else CLEAN


def check_exit_code(report: CheckReport) -> int:
    """130 for a run that was interrupted, 2 where a model could not be checked, 1 where the gate fails, else 0."""
    if report.interrupted:
        return INTERRUPTED
    if report.unreadable:
        return UNUSABLE
    return CLEAN if report.passed else FOUND
