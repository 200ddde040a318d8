"""What the normalization layers of a trained model are really doing.

`normdiag.inspect(model_or_path, batches)`, `normdiag.fold(model_or_path, batches)` and `normdiag.check(paths)` are what
the commands of these names call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from normdiag.commands.check import Checking, check
    from normdiag.commands.diff import diff
    from normdiag.commands.fold import fold
    from normdiag.commands.history import history
    from normdiag.commands.inspect import inspect
    from normdiag.commands.path import interpolate
    from normdiag.commands.preprocess import preprocess
    from normdiag.commands.profile import merged_profile, profile
    from normdiag.commands.recalibrate import recalibrate
    from normdiag.config import Config
    from normdiag.data import DataOptions
    from normdiag.folding.options import ExportOptions
    from normdiag.folding.pytorch import load_folded
    from normdiag.models import LoadOptions
    from normdiag.profiles import read_profile, write_profile
    from normdiag.recalibration.options import RecalibrateOptions
    from normdiag.records import CheckReport, FoldReport, Profile, Report
    from normdiag.records.diff import DiffReport
    from normdiag.records.recalibration import RecalibrationReport
    from normdiag.results.checked import CheckResult
    from normdiag.results.compared import DiffResult
    from normdiag.results.folded import FoldResult
    from normdiag.results.followed import HistoryResult, PathResult
    from normdiag.results.inspection import Inspection
    from normdiag.results.profiled import ProfileResult
    from normdiag.results.ranking import PreparationResult
    from normdiag.results.recalibrated import RecalibrationResult

__version__ = "0.1.0"
__all__ = [
    "CheckReport",
    "CheckResult",
    "Checking",
    "Config",
    "DataOptions",
    "DiffReport",
    "DiffResult",
    "ExportOptions",
    "FoldReport",
    "FoldResult",
    "HistoryResult",
    "Inspection",
    "LoadOptions",
    "PathResult",
    "PreparationResult",
    "Profile",
    "ProfileResult",
    "RecalibrateOptions",
    "RecalibrationReport",
    "RecalibrationResult",
    "Report",
    "__version__",
    "check",
    "diff",
    "fold",
    "history",
    "inspect",
    "interpolate",
    "load_folded",
    "merged_profile",
    "preprocess",
    "profile",
    "read_profile",
    "recalibrate",
    "write_profile",
]

_HOMES = {
    "inspect": "normdiag.commands.inspect",
    "fold": "normdiag.commands.fold",
    "load_folded": "normdiag.folding.pytorch",
    "FoldResult": "normdiag.results.folded",
    "Inspection": "normdiag.results.inspection",
    "HistoryResult": "normdiag.results.followed",
    "PathResult": "normdiag.results.followed",
    "CheckResult": "normdiag.results.checked",
    "PreparationResult": "normdiag.results.ranking",
    "ProfileResult": "normdiag.results.profiled",
    "FoldReport": "normdiag.records",
    "ExportOptions": "normdiag.folding.options",
    "recalibrate": "normdiag.commands.recalibrate",
    "RecalibrationResult": "normdiag.results.recalibrated",
    "RecalibrationReport": "normdiag.records.recalibration",
    "RecalibrateOptions": "normdiag.recalibration.options",
    "check": "normdiag.commands.check",
    "diff": "normdiag.commands.diff",
    "history": "normdiag.commands.history",
    "interpolate": "normdiag.commands.path",
    "DiffReport": "normdiag.records.diff",
    "DiffResult": "normdiag.results.compared",
    "preprocess": "normdiag.commands.preprocess",
    "Checking": "normdiag.commands.check",
    "CheckReport": "normdiag.records",
    "Config": "normdiag.config",
    "DataOptions": "normdiag.data",
    "LoadOptions": "normdiag.models",
    "Report": "normdiag.records",
    "profile": "normdiag.commands.profile",
    "merged_profile": "normdiag.commands.profile",
    "read_profile": "normdiag.profiles",
    "write_profile": "normdiag.profiles",
    "Profile": "normdiag.records",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for, so that `normdiag --help` imports none of it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
