"""What the functions return in Python: a report that shows itself, in a terminal, in a notebook or in a file."""

from normdiag.results.checked import CheckResult
from normdiag.results.compared import DiffResult
from normdiag.results.folded import FoldResult
from normdiag.results.followed import HistoryResult, PathResult
from normdiag.results.inspection import Inspection
from normdiag.results.profiled import ProfileResult
from normdiag.results.ranking import PreparationResult
from normdiag.results.recalibrated import RecalibrationResult
from normdiag.results.shown import Shown

__all__ = [
    "CheckResult",
    "DiffResult",
    "FoldResult",
    "HistoryResult",
    "Inspection",
    "PathResult",
    "PreparationResult",
    "ProfileResult",
    "RecalibrationResult",
    "Shown",
]
