"""What recalibration measures and does: sums of a population, what becomes of each layer, and the effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from normdiag.records.channel_sums import ChannelSums
from normdiag.records.model import ModelInfo, NormKind

Outcome = Literal["recalibrated", "already_right", "undecided", "worse"]
Method = Literal["precise", "sequential"]


@dataclass(frozen=True, eq=False)
class PopulationSums:
    """What a layer with running statistics saw of the data: its five sums, and the number of values per channel.

    A layer that runs several times in one forward has the sums of all its calls.
    """

    sums: ChannelSums
    elements: int

    def __add__(self, other: PopulationSums) -> PopulationSums:
        return PopulationSums(self.sums + other.sums, self.elements + other.elements)


@dataclass(frozen=True)
class LayerChange:
    """What became of one layer.

    `drift` is that of the stored statistics from the measured ones with its standard error `se`, `error` the expected
    error of the measured ones, RMS over the channels; all in standard deviations of the layer's input. `kept` says why
    the layer keeps what it has, None for one that gets other statistics: those measured or, where it was in training
    mode and what it stores is right, those that are stored (`uses`).
    """

    layer: str
    kind: NormKind
    channels: int
    samples: int
    elements: int
    drift: float
    se: float
    error: float
    kept: str | None = None
    uses: Literal["measured", "stored"] = "measured"


@dataclass(frozen=True)
class Effect:
    """The model before and after on samples that it was not recalibrated on.

    `accuracy` and `newly` (right that were wrong, wrong that were right) need labels. `answers_changed` exists for
    (N, K) outputs. `gap` is the relative RMS distance of the outputs from those under batch statistics, None where that
    could not run; `gap_rise` the mean rise of its square over samples, with the standard error `gap_rise_se`, both as
    shares of the outputs' mean square. `drift` is the RMS over the layers of the drift, not corrected for chance.
    """

    samples: int
    output: str
    relative_rms: float
    answers_changed: float | None = None
    accuracy: tuple[float, float] | None = None
    newly: tuple[int, int] | None = None
    gap: tuple[float, float] | None = None
    gap_rise: float = 0.0
    gap_rise_se: float = 0.0
    drift: tuple[float, float] | None = None


@dataclass(frozen=True)
class RecalibrationReport:
    """All that `recalibrate` has to say.

    `samples` were measured and `held_out` kept for the effect. `keep` is the share of the stored statistics in the new
    ones. `passes` counts the runs over the data. `needed` is how many samples would bring every layer's error below
    `tolerance`, None where that is reached or was not asked for. `written` is the file, None where nothing was.
    """

    model: ModelInfo
    source: str
    outcome: Outcome
    method: Method
    layers: tuple[LayerChange, ...]
    samples: int
    held_out: int
    batch_size: int
    keep: float = 0.0
    passes: int = 1
    effect: Effect | None = None
    tolerance: float | None = None
    needed: int | None = None
    written: str | None = None
    dry_run: bool = False
    notes: tuple[str, ...] = ()

    @property
    def replaced(self) -> tuple[LayerChange, ...]:
        """The layers that get measured statistics."""
        return tuple(each for each in self.layers if each.kept is None)
