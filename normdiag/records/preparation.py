"""Ways to prepare a model's input, ranked."""

from __future__ import annotations

from dataclasses import dataclass

from normdiag.records.model import ModelInfo
from normdiag.records.report import DataInfo


@dataclass(frozen=True)
class RankedPreparation:
    """One preparation. `option` is the text for `--preprocess`, `meaning` what it does to the data as it is stored.

    `drift` is the RMS over the channels of the first norm layers with running statistics, in stored standard
    deviations, and `drift_se` its jackknifed standard error. `entropy` is the mean entropy of the predicted class
    distribution in nats, None for outputs that are not scores of classes.
    `answers_changed` is the share of samples whose predicted class changes when the statistics of the data so prepared
    replace the stored ones. `behind` says by what it is surely worse than the first; None where it may be as good.
    """

    option: str
    meaning: str
    drift: float
    drift_se: float
    entropy: float | None = None
    entropy_se: float | None = None
    answers_changed: float | None = None
    behind: str | None = None


@dataclass(frozen=True)
class PreparationReport:
    """All that were tried, best first. `layers` are the norm layers that were looked at.

    `fitting` are the options that fit the stored statistics and of which none is surely worse than another. `best` is
    the one of them that surely drifts least, or the one in use where it is among them; None where there is none such.
    """

    model: ModelInfo
    data: DataInfo
    layers: tuple[str, ...]
    ranking: tuple[RankedPreparation, ...]
    fitting: tuple[str, ...]
    best: str | None
    notes: tuple[str, ...] = ()
