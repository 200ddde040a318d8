"""A training run, checkpoint by checkpoint: what enters each norm and activation, and how it moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HistoryPoint:
    """What enters one norm or activation at one checkpoint.

    `low`, `middle` and `high` are the 15th, 50th and 85th percentile of its values over all units. `moved` is how far
    the medians of its units are from those of the checkpoint before: RMS over the units, in units of half the distance
    from `low` to `high` of a unit (RMS as well); None for the first. `drift` is that of the stored statistics in
    stored standard deviations, with its standard error, for BatchNorm; `saturated` the share of the values of an
    activation where its derivative all but vanishes.
    """

    name: str
    role: str
    kind: str
    low: float
    middle: float
    high: float
    moved: float | None = None
    drift: float | None = None
    drift_se: float | None = None
    saturated: float | None = None


@dataclass(frozen=True)
class HistoryStep:
    """One checkpoint. `gap` is the relative RMS difference that batch statistics make at the output, `gradient` the RMS
    of what the activations let through along the depth; None where the model has none.
    """

    path: str
    step: int | None
    points: tuple[HistoryPoint, ...]
    gap: float | None = None
    gradient: float | None = None


@dataclass(frozen=True)
class HistoryReport:
    """The checkpoints in order, all on the same samples."""

    steps: tuple[HistoryStep, ...]
    source: str
    samples: int
    notes: tuple[str, ...] = ()
