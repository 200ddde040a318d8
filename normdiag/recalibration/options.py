"""What `recalibrate` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

from normdiag.errors import UsageError
from normdiag.records.recalibration import Method

HOLDOUT = 0.2


@dataclass(frozen=True)
class RecalibrateOptions:
    """What `recalibrate` is asked for.

    `output` is where the result goes, None for nowhere. `method`: 'precise' measures each layer with the statistics of
    each batch upstream, 'sequential' with the repaired ones. `keep` in [0, 1) is the share of the stored statistics
    in the new ones; `pseudo_count` gives them the weight of that many samples instead. `layers` are patterns of
    names (none: all). `only_drifting` leaves layers alone whose statistics the data does not contradict. Measuring
    stops once every layer's error is below `tolerance`, in standard deviations. `holdout` is the share of the samples
    that only judge the result. `accept_worse` writes a result that is worse on them; `force` replaces a file.
    """

    output: Path | None = None
    method: Method = "precise"
    keep: float | None = None
    pseudo_count: float | None = None
    layers: tuple[str, ...] = ()
    only_drifting: bool = False
    tolerance: float | None = None
    holdout: float = HOLDOUT
    accept_worse: bool = False
    force: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for values out of range, and options that contradict each other."""
        if self.method not in get_args(Method):
            raise UsageError(f"--method {self.method}: give {' or '.join(get_args(Method))}")
        if self.keep is not None and self.pseudo_count is not None:
            raise UsageError("--keep and --pseudo-count both say how much of the stored statistics stays; give one")
        if self.keep is not None and not 0.0 <= self.keep < 1.0:
            raise UsageError(f"--keep must be at least 0 and below 1, not {self.keep:g}")
        if self.pseudo_count is not None and not 0.0 <= self.pseudo_count < float("inf"):
            raise UsageError(f"--pseudo-count must be a number of samples, not {self.pseudo_count:g}")
        if self.tolerance is not None and not self.tolerance > 0.0:
            raise UsageError(f"--tolerance must be above 0, not {self.tolerance:g}")
        if not 0.0 <= self.holdout <= 0.9:
            raise UsageError(f"--holdout must lie between 0 and 0.9, not at {self.holdout:g}")

    def chooses(self, layer: str) -> bool:
        """Whether a layer of this name is to be recalibrated."""
        return not self.layers or any(fnmatchcase(layer, pattern) for pattern in self.layers)
