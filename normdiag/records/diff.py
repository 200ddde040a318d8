"""What differs between two models: in what they store, and in what they compute on the same data."""

from __future__ import annotations

from dataclasses import dataclass, field

from normdiag.records.contents import MatchedBy
from normdiag.records.model import ModelInfo


@dataclass(frozen=True)
class TensorDifference:
    """How far the tensors of one role are apart.

    `relative` is sqrt(sum (b - a)^2 / sum a^2), infinite where only b is not 0; `ulps` the largest difference in units
    in the last place of `dtype`, the coarser of both. `rounding`: converting from one dtype to the other explains it.
    """

    relative: float
    ulps: float
    dtype: str
    rounding: bool


@dataclass(frozen=True)
class SettingDifference:
    """Something that both files say of a layer in different words: eps, momentum, training, kind, groups, shape."""

    name: str
    a: str
    b: str


@dataclass(frozen=True)
class LayerDifference:
    """A pair of layers. `weights` are those of a linear layer, `affine` gamma and beta of a norm; None where equal.

    `statistics` is the RMS drift of b's running statistics against a's over the channels, in stored standard
    deviations; None where either has none, 0 where they are equal. `folded` names the norm of the other file that the
    weights differ by, and that explains all of the difference.
    """

    a: str
    b: str
    by: MatchedBy
    kind: str
    weights: TensorDifference | None = None
    affine: TensorDifference | None = None
    statistics: float | None = None
    settings: tuple[SettingDifference, ...] = ()
    folded: str | None = None

    def differs(self, tolerance: float = 0.0) -> bool:
        """Whether something differs by more than rounding, and more than `tolerance` (a share, or in deviations)."""
        if self.folded is not None:
            return False
        changes = [each for each in (self.weights, self.affine) if each is not None and not each.rounding]
        moved = any(not each.relative <= tolerance for each in changes)
        return moved or not (self.statistics or 0.0) <= tolerance or bool(self.settings)


@dataclass(frozen=True)
class UnpairedLayer:
    """A layer that only one of the models has; `folded_into` is the layer of the other that absorbed it."""

    name: str
    kind: str
    folded_into: str | None = None


@dataclass(frozen=True)
class PlaceApart:
    """How far the two models are apart after one layer, on the data.

    `relative` is max|b - a| / max|a|, `rms` sqrt(sum (b - a)^2 / sum a^2); `bound` is what rounding explains of
    `relative`, or the tolerance where one was given.
    """

    a: str
    b: str
    by: MatchedBy
    kind: str
    relative: float
    rms: float
    bound: float

    @property
    def departs(self) -> bool:
        """Whether they are further apart than that."""
        return not self.relative <= self.bound


@dataclass(frozen=True)
class PartingCause:
    """A cause by name: the sentence for people, the figures that speak for it, and what to do."""

    cause: str
    summary: str
    evidence: str
    remedy: str


@dataclass(frozen=True)
class Parting:
    """The first layer that departs. `share` is how much of the difference of the outputs goes when A's values stand in
    B after it (of the first batch, root mean square); None where they could not be put there.
    """

    a: str
    b: str
    kind: str
    share: float | None = None
    cause: PartingCause | None = None


@dataclass(frozen=True)
class ComparedOnData:
    """Both models on the same batches. `answers_changed` is the share of samples whose largest output is another."""

    source: str
    samples: int
    batch_size: int
    random: bool
    places: tuple[PlaceApart, ...]
    outputs: tuple[PlaceApart, ...]
    parting: Parting | None = None
    answers_changed: float | None = None

    @property
    def agree(self) -> bool:
        """Whether the outputs are no further apart than rounding or the tolerance explains."""
        return not any(each.departs for each in self.outputs)


@dataclass(frozen=True)
class DiffReport:
    """Two models, beside each other. `tolerance` is the relative difference that was asked to be accepted."""

    a: ModelInfo
    b: ModelInfo
    layers: tuple[LayerDifference, ...]
    only_a: tuple[UnpairedLayer, ...] = ()
    only_b: tuple[UnpairedLayer, ...] = ()
    tolerance: float | None = None
    on_data: ComparedOnData | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def changed(self) -> tuple[LayerDifference, ...]:
        """The pairs that differ by more than rounding, and more than is accepted."""
        return tuple(each for each in self.layers if each.differs(self.tolerance or 0.0))

    @property
    def missing(self) -> tuple[UnpairedLayer, ...]:
        """Layers that only one of the two has, and that were not folded into another."""
        return tuple(each for each in (*self.only_a, *self.only_b) if each.folded_into is None)

    @property
    def equal(self) -> bool:
        """Whether nothing was found that differs. What could not be paired is no difference where the outputs agree."""
        if self.on_data is not None:
            return self.on_data.agree and not self.changed
        return not self.changed and not self.missing
