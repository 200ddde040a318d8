"""What is concluded: findings, and the report that the renderers render."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from normdiag.records.coverage import Coverage, Verdict
from normdiag.records.diagnosis import Diagnosis
from normdiag.records.metrics import ActivationMetrics, GradientProduct, LayerMetrics
from normdiag.records.model import CopyComparison, FoldedNorm, ModelInfo
from normdiag.wording import abridged

if TYPE_CHECKING:
    from normdiag.records.outliers import NormOutliers
    from normdiag.records.output_changes import Gap, Recalibration
    from normdiag.records.precision import HalfPrecision
    from normdiag.records.preparation import Preparations
    from normdiag.records.reference import ReferenceComparison

Severity = Literal["error", "warning", "info"]
Target = Literal["fp32", "fp16", "bf16", "int8"]


@dataclass(frozen=True)
class DataInfo:
    """What was run through the model. `random` marks made-up data, whose numbers describe nothing real.

    `distinct` is how many of the samples differ from all before them.
    """

    source: str
    samples: int
    batch_size: int
    batches: int
    random: bool = False
    preprocess: str | None = None
    distinct: int | None = None


@dataclass(frozen=True, eq=False)
class OnTrainingData:
    """What the same model shows on data that it was trained on; the members are those of the report.

    Drift there as well is the fault of the statistics, none there that of the data or of how they are prepared.
    """

    data: DataInfo
    layers: tuple[LayerMetrics, ...]
    gap: Gap | None = None
    recalibration: Recalibration | None = None


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, how sure, and the remedy.

    `layers` are all that it reports, the one to look at first in front; none where it reports the model as a whole.
    `text` holds for each of them, however many others there are, and names none; `details` is what differs, a few words
    by the name of a layer. So layers can be taken out, as the configuration and a baseline do, and what is said of the
    others stays right. The numbers of `evidence` are from the whole model, whatever has been taken out.
    """

    rule: str
    name: str
    severity: Severity
    confidence: Literal["high", "medium", "low"]
    layers: tuple[str, ...]
    text: str
    remedy: str
    evidence: Mapping[str, float | int | str | None] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def layer(self) -> str | None:
        """The layer to look at first."""
        return self.layers[0] if self.layers else None

    @property
    def message(self) -> str:
        """What it says, beginning with the layers: 'a, b (3 of 16), c and 4 more: ...'."""
        if not self.layers:
            return self.text
        named = [f"{name} ({self.details[name]})" if name in self.details else name for name in self.layers]
        return f"{abridged(named)}: {self.text}"

    def only(self, keep: Callable[[str], bool]) -> Finding | None:
        """The finding of those of its layers that are kept; None where none is. One of the whole model stays."""
        kept = tuple(name for name in self.layers if keep(name))
        return replace(self, layers=kept) if kept or not self.layers else None


@dataclass(frozen=True)
class RangeSpread:
    """Per-channel weight ranges of one layer, before and after folding.

    `spread` is the largest over the smallest nonzero max|w| of its output channels. `coarse` counts channels to which
    one INT8 scale for the whole tensor leaves at most one level: max|w_c| < 1.5 * max|w| / 127. Channels that are zero,
    or to which their norm leaves no signal to speak of, do not count.
    """

    layer: str
    channels: int
    spread_before: float
    spread_after: float
    coarse_before: int
    coarse_after: int


@dataclass(frozen=True)
class Neighbours:
    """What leads to a layer and what follows it: steps in the order of the computation, of names and kinds of ops."""

    layer: str
    before: tuple[tuple[tuple[str, str], ...], ...]
    after: tuple[tuple[tuple[str, str], ...], ...]


Role = Literal["pre", "post", "sandwich", "output", "qk"]


@dataclass(frozen=True)
class NormRole:
    """Where in a transformer a norm stands: `normdiag.graph.norm_roles` says what the words mean."""

    layer: str
    role: Role


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that `inspect` found. `notes` say what could not be measured and why.

    `ranges` are the weight ranges that folding would leave, where that was planned. `target` is the number format that
    the model is declared to run in, `serve_batch` the number of samples that it is served in together, where the user
    says so. `why_not_run` says why the model could not be run, whether or not there was data, `unused_data` what data
    was given then. `copies` are other copies of the model in its file, `folded` and `skipped` as in Model. `coverage`
    is what was measured and what was not. `recalibration` is there where something drifts or the gap asks for it,
    `preparations` where the first layers drift and answers would change: what other preparations of the input would do.
    `reading` are the options with which the file was read, as they are typed, `feeding` those with which the data was
    read, without its preparation. `neighbours` are of the norms in the graph, where that was looked at. `reference` is
    the drift at every point against a profile, where one was given.
    `half` is what half precision does to the norms and the model, where `target` is one and the model ran on real data.
    `roles` are those of norms in a transformer, where the graph was looked at. `outliers` are the large values that
    norms read, where `target` is a narrow format.
    """

    model: ModelInfo
    data: DataInfo | None
    layers: tuple[LayerMetrics, ...]
    activations: tuple[ActivationMetrics, ...] = ()
    gradient: GradientProduct | None = None
    gap: Gap | None = None
    findings: tuple[Finding, ...] = ()
    diagnosis: tuple[Diagnosis, ...] = ()
    notes: tuple[str, ...] = ()
    interrupted: bool = False
    ranges: tuple[RangeSpread, ...] = ()
    target: Target | None = None
    serve_batch: int | None = None
    copies: tuple[CopyComparison, ...] = ()
    why_not_run: str | None = None
    unused_data: str | None = None
    folded: tuple[FoldedNorm, ...] = ()
    skipped: tuple[str, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)
    recalibration: Recalibration | None = None
    preparations: Preparations | None = None
    reading: tuple[str, ...] = ()
    feeding: tuple[str, ...] = ()
    on_training_data: OnTrainingData | None = None
    neighbours: tuple[Neighbours, ...] = ()
    reference: ReferenceComparison | None = None
    half: HalfPrecision | None = None
    roles: tuple[NormRole, ...] = ()
    outliers: tuple[NormOutliers, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """`problem` with a finding of warning or above, `not_measured` where nothing was judged on data, else `ok`."""
        if any(each.severity != "info" for each in self.findings):
            return "problem"
        return "ok" if self.coverage.judged else "not_measured"
