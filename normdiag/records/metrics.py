"""What is measured of layers and activations: numbers with error bars, out of sums."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from normdiag.records.model import NormLayer

Floats = NDArray[np.float64]


def error_of_root(square: float, error: float) -> float:
    """Standard error of the root of max(square, 0), with `error` that of the square.

    It is error / (2 root) and, where the square is no larger than 0.7 of its error, that of a square so large: what the
    root of a true 0 scatters by, within a fifth.
    """
    if not math.isfinite(error):
        return error
    base = max(square, 0.7 * error)
    return error / (2.0 * math.sqrt(base)) if base > 0 else base


@dataclass(frozen=True)
class OverChannels:
    """A quantity over the channels of a layer, without the part of sampling noise, each with its standard error.

    `rms` is the RMS of its distance from what agreement would give (z: 0, r: 1), `spread` its standard deviation.
    """

    rms: float
    rms_se: float
    mean: float
    mean_se: float
    spread: float
    spread_se: float


@dataclass(frozen=True, eq=False, repr=False)
class Drift:
    """Stored against observed statistics, in units of the stored standard deviation.

    Per channel, float64 of shape (C,): z = M/s, r = sqrt(V + eps)/s, d = sqrt(z^2 + (r - 1)^2) and the standard errors
    of each; `floor` (C,) = sqrt(se_z^2 + se_r^2) is what d would show of sampling noise alone, and `corrected_d` is
    d without it: the better estimate of the true drift, and the one that `se_d` belongs to. Over the layer: `rms` is
    the RMS of d over the channels, `square` = mean(d^2 - floor^2) and `square_se` its standard error, `over_z` and
    `over_r` the two apart. Errors over the layer are jackknifed over the samples; with one sample all are infinite.
    `batch_spread` / sqrt(b) is the RMS difference that the statistics of batches of b samples show by chance, taken
    from the batches seen; None with a single one.
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
    square: float
    square_se: float
    over_z: OverChannels
    over_r: OverChannels
    batch_spread: float | None = None

    @property
    def corrected(self) -> float:
        """sqrt(square): the layer's drift without its noise floor."""
        return math.sqrt(max(self.square, 0.0)) if not math.isnan(self.square) else math.nan

    @property
    def se(self) -> float:
        """Standard error of `corrected`."""
        return error_of_root(self.square, self.square_se)

    @property
    def lower(self) -> float:
        """Lower end of the layer's 2-sigma interval, never below 0: what a rule may act on."""
        bound = self.square - 2.0 * self.square_se
        return math.sqrt(bound) if math.isfinite(bound) and bound > 0 else 0.0

    @property
    def upper(self) -> float:
        """Upper end of the layer's 2-sigma interval; infinite with one sample."""
        return math.sqrt(max(self.square, 0.0) + 2.0 * self.square_se)

    @property
    def max_channel(self) -> int:
        """The channel with the largest d; non-finite ones first."""
        return int(np.argmax(np.where(np.isnan(self.d), np.inf, self.d)))

    @property
    def max(self) -> float:
        """The largest d."""
        return float(self.d[self.max_channel])

    def __repr__(self) -> str:
        """One line, without the arrays."""
        return (
            f"<Drift: {self.corrected:.3f} ± {self.se:.3f} over {len(self.d)} channels, largest {self.max:.3g} in "
            f"channel {self.max_channel}; {self.samples} samples>"
        )


@dataclass(frozen=True)
class StoredFit:
    """How the stored statistics of a layer follow from what its data shows, over the channels.

    `initial_share` is w in stored = w * initial + (1 - w) * observed, with initial 0 for the mean and 1 for the
    variance: 1 for statistics that were never updated, 0 for those that are the data's own. `unexplained` is the share
    of the squared difference between stored and observed that no such w explains. `correlation_mean` and
    `correlation_var` are those of stored with observed means and log variances; None where either does not vary.
    """

    initial_share: float
    initial_share_se: float
    unexplained: float
    correlation_mean: float | None
    correlation_var: float | None


@dataclass(frozen=True, eq=False)
class MeanResponse:
    """What the linear layer just before a norm makes of other means at its F inputs.

    `directions` (C, F) is what one more in the mean of each input adds to each mean of the norm. `border` is the part
    of the positions of an image (0 to 1; both sides of every dimension together) where the kernel reaches beyond the
    edge or stops before it: there an input whose mean changes otherwise moves the means in other directions.
    `rewritten` is the share of the weights that are exactly 0 or repeat another, as training does not leave them.
    """

    directions: Floats = field(repr=False)
    border: float
    rewritten: float = 0.0


@dataclass(frozen=True, eq=False)
class GroupMetrics:
    """What a LayerNorm, RMSNorm, GroupNorm or InstanceNorm saw. `variance` is the mean square for RMSNorm.

    `channel_rms` (C,) is the RMS of x per channel or feature. `outlier_ratio` is its maximum over its median.
    `half_overflow`: abs_max above 255.9, whose square does not fit float16. `single_element`: groups of one element,
    so that the output is the bias alone. `below_eps`: share of the groups with a variance below the layer's eps.
    `largest_sum` is the largest sum of squares of a group, group_size * variance, up to 4.4 % too small, and
    `overflowing` the share of groups where it does not fit float16.
    Standard errors are over the samples; None with one sample. The extremes have none.
    """

    group_size: int
    variance_min: float
    variance_median: float
    abs_max: float
    channel_rms: Floats = field(repr=False)
    outlier_channel: int
    outlier_ratio: float
    half_overflow: bool
    single_element: bool
    below_eps: float | None = None
    largest_sum: float = 0.0
    overflowing: float = 0.0
    variance_median_se: float | None = None
    outlier_ratio_se: float | None = None
    below_eps_se: float | None = None


@dataclass(frozen=True, eq=False)
class LayerMetrics:
    """A layer with all that could be measured of it; None for what could not.

    `drift` is as deployed (pass E), `own` upstream corrected (pass B), `noise` the RMS difference, in stored standard
    deviations, that batch statistics of `Gap.batch_size` samples add by chance where all BatchNorm layers use them;
    None with a single batch. `effective_samples` is the size of the batch whose statistics would scatter as far from
    the data's as the stored ones are: small where these come from a handful of samples, infinite without drift.
    `response` is None without a linear layer just before it, where that has no fewer inputs than outputs, and where
    nothing drifts.
    """

    layer: NormLayer
    calls: int = 0
    drift: Drift | None = None
    own: Drift | None = None
    noise: float | None = None
    groups: GroupMetrics | None = None
    effective_samples: float | None = None
    effective_samples_se: float | None = None
    stored_fit: StoredFit | None = None
    response: MeanResponse | None = None


@dataclass(frozen=True)
class ActivationMetrics:
    """One activation. For ReLU-like kinds the saturated fraction is the inactive one: half is normal.

    `dead_units` counts the units that were saturated on every value seen. `final`: its output is the model's.
    `sampled_share` is the share of the values that the figures are taken from; the standard errors are over the
    samples, those of not having looked at the rest included, and None with one sample. Dead units are always counted.
    """

    name: str
    kind: str
    saturated_fraction: float
    mean_squared_derivative: float
    units: int
    dead_units: int
    final: bool = False
    sampled_share: float = 1.0
    saturated_se: float | None = None
    mean_squared_derivative_se: float | None = None


@dataclass(frozen=True)
class GradientProduct:
    """How much gradient the activations let through along the depth, as if they were one chain.

    `mean_squared` is the product of the mean squared derivatives, `rms` its square root, to be read beside
    `sigmoid_bound` = 0.25^depth, the most that as many sigmoids could pass. `rms_se` is the standard error of `rms`
    over the samples; None with one.
    """

    depth: int
    mean_squared: float
    rms: float
    sigmoid_bound: float
    rms_se: float | None = None
