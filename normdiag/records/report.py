"""What is concluded: metrics, findings and the report that the reporters render."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from normdiag.records.coverage import Coverage, Verdict
from normdiag.records.model import CopyComparison, FoldedNorm, ModelInfo, NormLayer
from normdiag.wording import abridged

Floats = NDArray[np.float64]
Severity = Literal["error", "warning", "info"]
Target = Literal["fp32", "fp16", "bf16", "int8"]


@dataclass(frozen=True, eq=False)
class Drift:
    """Stored against observed statistics, in units of the stored standard deviation (DESIGN, 3).

    Per channel, float64 of shape (C,): z = M/s, r = sqrt(V + eps)/s, d = sqrt(z^2 + (r - 1)^2) and the standard errors
    of each; `floor` (C,) = sqrt(se_z^2 + se_r^2) is what d would show of sampling noise alone, and `corrected_d` is
    d without it: the better estimate of the true drift, and the one that `se_d` belongs to. Over the layer: `rms` is
    the RMS of d over the channels, `corrected` = sqrt(mean(d^2 - floor^2)), `se` its standard error (channels taken as
    fully correlated, an upper bound). With one sample the standard errors are infinite.
    """

    samples: int
    z: Floats
    r: Floats
    d: Floats
    se_z: Floats
    se_r: Floats
    se_d: Floats
    corrected_d: Floats
    floor: Floats
    rms: float
    se: float
    corrected: float

    @property
    def lower(self) -> float:
        """Lower end of the layer's 2-sigma interval, never below 0: what a rule may act on."""
        bound = self.corrected - 2.0 * self.se
        return max(bound, 0.0) if np.isfinite(bound) else 0.0

    @property
    def max_channel(self) -> int:
        """The channel with the largest d; non-finite ones first."""
        return int(np.argmax(np.where(np.isnan(self.d), np.inf, self.d)))

    @property
    def max(self) -> float:
        """The largest d."""
        return float(self.d[self.max_channel])


@dataclass(frozen=True, eq=False)
class GroupMetrics:
    """What a LayerNorm, RMSNorm, GroupNorm or InstanceNorm saw. `variance` is the mean square for RMSNorm.

    `channel_rms` (C,) is the RMS of x per channel or feature. `outlier_ratio` is its maximum over its median.
    `half_overflow`: abs_max above 255.9, whose square does not fit float16. `single_element`: groups of one element,
    so that the output is the bias alone. `below_eps`: share of the groups with a variance below the layer's eps.
    """

    group_size: int
    variance_min: float
    variance_median: float
    abs_max: float
    channel_rms: Floats
    outlier_channel: int
    outlier_ratio: float
    half_overflow: bool
    single_element: bool
    below_eps: float | None = None


@dataclass(frozen=True, eq=False)
class LayerMetrics:
    """A layer with all that could be measured of it; None for what could not.

    `drift` is as deployed (pass E), `own` upstream corrected (pass B), `noise` the expected RMS difference, in stored
    standard deviations, that batch statistics of `Gap.batch_size` samples add by chance.
    """

    layer: NormLayer
    calls: int = 0
    drift: Drift | None = None
    own: Drift | None = None
    noise: float | None = None
    groups: GroupMetrics | None = None


@dataclass(frozen=True)
class ActivationMetrics:
    """One activation. For ReLU-like kinds the saturated fraction is the inactive one: half is normal.

    `dead_units` counts the units that were saturated on every value seen. `final`: its output is the model's.
    """

    name: str
    kind: str
    saturated_fraction: float
    mean_squared_derivative: float
    units: int
    dead_units: int
    final: bool = False


@dataclass(frozen=True)
class GradientProduct:
    """How much gradient the activations let through along the depth, as if they were one chain.

    `mean_squared` is the product of the mean squared derivatives, `rms` its square root, to be read beside
    `sigmoid_bound` = 0.25^depth, the most that as many sigmoids could pass.
    """

    depth: int
    mean_squared: float
    rms: float
    sigmoid_bound: float


@dataclass(frozen=True)
class Attribution:
    """How much of the gap goes when the data's statistics replace the stored ones in this layer alone (1 = all)."""

    layer: str
    removed: float


@dataclass(frozen=True)
class Gap:
    """Outputs under batch statistics against those under running statistics, for the output that differs most.

    `relative_rms` = sqrt(sum (y' - y)^2 / sum y^2). `top1_disagreement` and `js_divergence` (nats, mean over samples)
    exist for (N, K) outputs. `explained_drift` and `explained_noise` are the shares of the squared per-layer difference
    that the sums put down to drift and to batch noise; they add up to 1. `attribution` is ranked, largest first.
    """

    output: str
    relative_rms: float
    top1_disagreement: float | None
    js_divergence: float | None
    batch_size: int
    samples: int
    explained_drift: float | None
    explained_noise: float | None
    attribution: tuple[Attribution, ...] | None = None


@dataclass(frozen=True)
class DataInfo:
    """What was run through the model. `random` marks made-up data, whose numbers describe nothing real."""

    source: str
    samples: int
    batch_size: int
    batches: int
    random: bool = False
    preprocess: str | None = None


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, how sure, and the remedy.

    `layers` are all that it speaks of, the one to look at first in front; none where it speaks of the model as a whole.
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


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that `inspect` found. `notes` say what could not be measured and why.

    `ranges` are the weight ranges that folding would leave, where that was planned. `target` is the number format that
    the model is declared to run in, `serve_batch` the number of samples that it is served in together, where the user
    says so. `why_not_run` says why the model could not be run, whether or not there was data, `unused_data` what data
    was given then. `copies` are other copies of the model in its file, `folded` and `skipped` as in Model. `coverage`
    is what was measured and what was not.
    """

    model: ModelInfo
    data: DataInfo | None
    layers: tuple[LayerMetrics, ...]
    activations: tuple[ActivationMetrics, ...] = ()
    gradient: GradientProduct | None = None
    gap: Gap | None = None
    findings: tuple[Finding, ...] = ()
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

    @property
    def verdict(self) -> Verdict:
        """`problem` with a finding of warning or above, `not_measured` where nothing was judged on data, else `ok`."""
        if any(each.severity != "info" for each in self.findings):
            return "problem"
        return "ok" if self.coverage.judged else "not_measured"
