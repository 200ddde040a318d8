"""Ways to prepare a model's input, ranked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from normdiag.records.model import ModelInfo

# Where the scale and shift of a preparation come from.
NumbersFrom = Literal["preset", "images", "statistics"]


@dataclass(frozen=True)
class RankedPreparation:
    """One preparation. `option` is the text for `--preprocess`, `meaning` what it does to the data as it is stored.

    `drift` is the RMS over the channels of the first norm layers with running statistics, in stored standard
    deviations, and `drift_se` its jackknifed standard error. `entropy` is the mean entropy of the predicted class
    distribution in nats, None for outputs that are not scores of classes.
    `answers_changed` is the share of samples whose predicted class changes when the statistics of the data so prepared
    replace the stored ones, measured of those that may be best and of the one in use. `behind` says by what it is
    surely worse than the first; None where it may be as good. `listed` tells a preparation that people use from one
    that was made for this data. `numbers_from` says where its scale and shift come from: what adapts to each image
    (per-image), or was fitted to the statistics, also makes up for other things that were done to the images.
    """

    option: str
    meaning: str
    drift: float
    drift_se: float
    entropy: float | None = None
    entropy_se: float | None = None
    answers_changed: float | None = None
    behind: str | None = None
    listed: bool = True
    numbers_from: NumbersFrom = "preset"


@dataclass(frozen=True)
class Preparations:
    """All that were tried, best first. `used` is the option in use, `layers` are the norm layers that were looked at.

    `fitting` are the options that fit the stored statistics and of which none is surely worse than another, what adapts
    last. `best` is the one of them that is surely right, where the one in use is not another of them; None where there
    is none.
    """

    used: str
    layers: tuple[str, ...]
    ranking: tuple[RankedPreparation, ...]
    fitting: tuple[str, ...]
    best: str | None

    def row(self, option: str) -> RankedPreparation:
        """The one with this option, which was tried."""
        return next(each for each in self.ranking if each.option == option)

    @property
    def better(self) -> RankedPreparation | None:
        """The first of those that fit, where the one in use is surely worse; else None."""
        found = None if not self.fitting or self.used in self.fitting else self.best or self.fitting[0]
        return None if found is None else self.row(found)


@dataclass(frozen=True)
class PreparationReport:
    """What `preprocess` found; `source` is the data as the user named it.

    `arguments` follow the model's path in commands that read it and the data in the same way, but for the preparation;
    none where either came from Python.
    """

    model: ModelInfo
    source: str
    found: Preparations
    notes: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
