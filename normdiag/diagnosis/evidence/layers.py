"""One BatchNorm layer as evidence: how far its stored statistics are off, and how they follow from observed ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from normdiag.diagnosis.evidence import fits
from normdiag.records import Drift, LayerMetrics, NormLayer

# Fewer channels than this agree with anything.
FEWEST_CHANNELS = 4
# A channel with a variance below so many eps was constant, or next to it.
CONSTANT = 2.0


@dataclass(frozen=True, eq=False)
class LayerRow:
    """A BatchNorm layer that uses its running statistics. `drift` is local, or as deployed where that is all."""

    index: int
    metrics: LayerMetrics
    drift: Drift

    @property
    def layer(self) -> NormLayer:
        """What is stored."""
        return self.metrics.layer

    @property
    def name(self) -> str:
        """The layer's."""
        return self.layer.name

    @cached_property
    def alive(self) -> NDArray[np.bool_]:
        """Channels (C,) that varied on the data of the statistics; all where hardly any did.

        One that was constant there is off by hundreds of its own deviations once anything reaches it, and says nothing
        of the layer.
        """
        if self.layer.running_var is None or self.layer.eps is None:
            return np.ones(self.drift.z.shape, bool)
        alive = np.asarray(self.layer.running_var, np.float64) > CONSTANT * self.layer.eps
        return alive if np.mean(alive) > 0.5 else np.ones(alive.shape, bool)

    @property
    def deviation(self) -> NDArray[np.float64] | None:
        """What is stored, sqrt(var + eps), (C,)."""
        if self.layer.running_var is None or self.layer.running_mean is None or self.layer.eps is None:
            return None
        with np.errstate(all="ignore"):
            return np.asarray(np.sqrt(np.asarray(self.layer.running_var, np.float64) + self.layer.eps))

    @cached_property
    def off(self) -> float:
        """Drift without its noise, in stored standard deviations, over the channels that are alive."""
        if self.alive.all():
            return self.drift.corrected
        return math.sqrt(self.mean_square + self.spread_square)

    @property
    def lower(self) -> float:
        """The lower end of its 2-sigma interval."""
        whole = self.drift.corrected
        return self.drift.lower * (min(self.off / whole, 1.0) if whole > 0 else 1.0)

    @cached_property
    def mean_square(self) -> float:
        """Mean square of z over the channels, less what sampling makes of it: the part of the means in the drift."""
        return max(float(np.mean((self.drift.z**2 - self.drift.se_z**2)[self.alive])), 0.0)

    @cached_property
    def spread_square(self) -> float:
        """Mean square of r - 1, less what sampling makes of it: the part of the deviations in the drift."""
        return max(float(np.mean(((self.drift.r - 1.0) ** 2 - self.drift.se_r**2)[self.alive])), 0.0)

    @cached_property
    def log_ratio(self) -> tuple[float, float]:
        """Median over the channels of log(observed / stored deviation), and its spread."""
        with np.errstate(all="ignore"):
            logs = np.log(self.drift.r)
        logs = logs[np.isfinite(logs)]
        if not logs.size:
            return 0.0, 0.0
        middle = float(np.median(logs))
        return middle, float(1.4826 * np.median(np.abs(logs - middle)))

    @property
    def samples(self) -> float | None:
        """As how few samples the stored statistics would be as far off by chance; None where that is not measured."""
        return self.metrics.effective_samples

    @cached_property
    def by_chance(self) -> float:
        """Log-likelihood gained per channel by deviations that go with the channel's own scatter over the samples.

        Above 0 where channels are off by as much as chance would make them, below 0 where that is not the pattern.
        """
        drift = self.drift
        return fits.chance(drift.z, drift.se_z) + fits.chance(drift.r - 1.0, drift.se_r)

    @cached_property
    def statistics(self) -> fits.Statistics | None:
        """Stored and observed statistics, over the channels of which both are usable."""
        layer, drift = self.layer, self.drift
        if layer.running_mean is None or layer.running_var is None or layer.eps is None:
            return None
        mean, var = (np.asarray(each, np.float64) for each in (layer.running_mean, layer.running_var))
        with np.errstate(all="ignore"):
            s = np.sqrt(var + layer.eps)
            observed_mean, observed_var = mean + drift.z * s, np.square(drift.r * s)
            of_mean, of_ratio = np.square(drift.se_z / drift.r), np.square(drift.se_r / drift.r)
        usable = np.isfinite(observed_mean) & np.isfinite(observed_var) & (observed_var > 2 * layer.eps)
        if usable.sum() < FEWEST_CHANNELS:
            return None
        return fits.Statistics(
            mean=mean[usable],
            var=(var + layer.eps)[usable],
            observed_mean=observed_mean[usable],
            observed_var=observed_var[usable],
            eps=layer.eps,
            noise=float(np.mean((of_mean + of_ratio)[usable])),
            noise_of_ratio=float(np.mean(of_ratio[usable])),
        )

    @cached_property
    def mixture(self) -> fits.Mixture | None:
        """The share of the initial 0 and 1 in what is stored."""
        return None if self.statistics is None else fits.mixture(self.statistics)

    @cached_property
    def power(self) -> fits.Power | None:
        """The power or factor by which stored variances differ from observed ones."""
        return None if self.statistics is None else fits.power(self.statistics)

    @cached_property
    def correlations(self) -> tuple[float, float] | None:
        """Of stored with observed means, and of the logarithms of the variances, over the channels."""
        return None if self.statistics is None else fits.correlations(self.statistics)
