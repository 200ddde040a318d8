"""How stored statistics follow from observed ones, over the channels of a layer: mixed, in another form, or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# What is right in its form is still off by this much in healthy networks, in standard deviations.
HEALTHY = 0.03
# Without their training augmentation they drift by this much.
ANYWAY = 0.1


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of one layer's C channels, float64 (C,): stored mean and variance and those of the data, each variance with eps.

    `noise` is the mean square over the channels of what sampling alone makes of the difference, in observed standard
    deviations; `noise_of_ratio` the part of it in `ratio`.
    """

    mean: Floats
    var: Floats
    observed_mean: Floats
    observed_var: Floats
    eps: float
    noise: float
    noise_of_ratio: float

    @property
    def shift(self) -> Floats:
        """Stored less observed mean, in observed standard deviations."""
        return np.asarray((self.mean - self.observed_mean) / np.sqrt(self.observed_var))

    @property
    def ratio(self) -> Floats:
        """Logarithm of stored over observed standard deviation."""
        return np.asarray(0.5 * np.log(self.var / self.observed_var))

    @property
    def off(self) -> float:
        """Mean square of both over the channels, less the noise: what a fit has to explain."""
        return max(float(np.mean(self.shift**2 + self.ratio**2)) - self.noise, 0.0)


@dataclass(frozen=True)
class Mixture:
    """Stored = share * initial + (1 - share) * observed, by least squares; `left` is the part of `off` it leaves."""

    share: float
    left: float


def mixture(seen: Statistics) -> Mixture:
    """The share of the initial mean 0 and variance 1 that fits best."""
    shares = np.concatenate([np.linspace(0.0, 0.98, 50), np.geomspace(0.985, 1.0, 10)])
    left = [_left_of_mixture(seen, share) for share in shares]
    best = int(np.argmin(left))
    fine = np.linspace(shares[max(best - 1, 0)], shares[min(best + 1, len(shares) - 1)], 21)
    values = [_left_of_mixture(seen, share) for share in fine]
    return Mixture(float(fine[int(np.argmin(values))]), _relative(seen, min(values)))


def mixed_by(seen: Statistics, share: float) -> Mixture:
    """What a given share of the initial values leaves."""
    return Mixture(share, _relative(seen, _left_of_mixture(seen, share)))


def _left_of_mixture(seen: Statistics, share: float) -> float:
    mean = (1.0 - share) * seen.observed_mean
    var = (1.0 - share) * seen.observed_var + share * (1.0 + seen.eps)
    shift = (seen.mean - mean) / np.sqrt(seen.observed_var)
    ratio = 0.5 * np.log(seen.var / var)
    return float(np.mean(shift**2 + ratio**2))


@dataclass(frozen=True)
class Power:
    """Stored variance = factor * observed variance ^ power, with means alike or of the other sign (`sign` -1).

    `left` is the part that this leaves of `off`.
    """

    power: float
    factor: float
    sign: int
    left: float


def power(seen: Statistics) -> Power:
    """The best of the usual slips: another power of the deviation (1, 2 or -1, 4) or one factor in all channels."""
    logs, stored = np.log(seen.observed_var), np.log(seen.var)
    found: list[Power] = []
    for sign in (1, -1):
        shift = float(np.mean(((seen.mean - sign * seen.observed_mean) ** 2) / seen.observed_var))
        for exponent in (1.0, 0.5, 2.0, -0.5, -1.0):
            offset = stored - exponent * logs
            constant = float(np.median(offset)) if exponent == 1.0 else 0.0
            left = shift + float(np.mean((0.5 * (offset - constant)) ** 2))
            # a power of the observed variance has that power of its error
            more = (exponent**2 - 1.0) * (seen.noise_of_ratio + HEALTHY**2)
            found.append(Power(exponent, float(np.exp(constant)), sign, _relative(seen, left - max(more, 0.0))))
    return min(found, key=lambda each: each.left)


def pooled(layers: Sequence[tuple[Statistics, float]]) -> float:
    """What one form in several layers leaves unexplained of their difference, from the part it leaves of each."""
    total = sum(seen.off for seen, _ in layers)
    return sum(seen.off * left for seen, left in layers) / total if total > 0 else 0.0


def explains(seen: Statistics, left: float, most: float) -> bool:
    """Whether a form leaves at most a part of a layer's difference, or no more than healthy networks drift anyway."""
    return left < most or (left < 0.5 and left * seen.off < ANYWAY**2)


def foretold(seen: Statistics, share: float) -> float:
    """Mean square that a share of the initial 0 and 1 would make of the difference between stored and observed."""
    var = (1.0 - share) * seen.observed_var + share * (1.0 + seen.eps)
    shift = share * seen.observed_mean / np.sqrt(seen.observed_var)
    return float(np.mean(shift**2 + (0.5 * np.log(var / seen.observed_var)) ** 2))


def _relative(seen: Statistics, left: float) -> float:
    return max(left - seen.noise, 0.0) / seen.off if seen.off > 0 else 0.0


def by_one_factor(seen: Statistics) -> float:
    """The part of the squared differences of the means, less their noise, that one factor in all channels leaves.

    Without a bias the means of a first layer are those of the input times the sums of the weights: brighter, darker and
    cut images move them by one factor, changed weights do not.
    """
    unit = np.sqrt(seen.var)
    moved, stored = (seen.observed_mean - seen.mean) / unit, seen.mean / unit
    size, total = float(stored @ stored), float(moved @ moved)
    return 1.0 - float(stored @ moved) ** 2 / (size * total) if size * total > 0 else 1.0


def correlations(seen: Statistics) -> tuple[float, float]:
    """Over the channels: of the stored with the observed means, and of the logarithms of the variances.

    Means count in units of the geometric mean of both deviations, so that no channel outweighs the others.
    """
    unit = (seen.var * seen.observed_var) ** 0.25
    return (
        _correlation(seen.mean / unit, seen.observed_mean / unit),
        _correlation(np.log(seen.var), np.log(seen.observed_var)),
    )


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return float(np.sum(a * b)) / size if size > 0 else 1.0


def chance(off: Floats, error: Floats) -> float:
    """How much better deviations (C,) are explained with variances proportional to `error` squared than with one.

    Both are Gaussian with one free scale; the difference of their log-likelihoods, per channel.
    """
    usable = np.isfinite(off) & np.isfinite(error) & (error > 0)
    if usable.sum() < 2:
        return 0.0
    square, variance = off[usable] ** 2, error[usable] ** 2
    if not square.mean() > 0:
        return 0.0
    scaled = np.mean(np.log(variance)) + np.log(np.mean(square / variance))
    return 0.5 * float(np.log(square.mean()) - scaled)
