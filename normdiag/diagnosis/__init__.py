"""From a report to its verdict: what was measured, and what that means."""

from normdiag.diagnosis.coverage import coverage

__all__ = ["coverage"]
