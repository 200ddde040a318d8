"""Large values in what norms normalize: massive activations, and channels that stand out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MassiveActivation:
    """A feature with values above 100 that are 1000 times the median |x| of the layer (Sun et al. 2024).

    `largest` is the one of the largest size, with its sign, `ratio` its size over that median; `values` counts them.
    `tokens` are their positions in the sample, the most frequent first; empty where these are not known.
    """

    feature: int
    values: int
    largest: float
    ratio: float
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True)
class NormOutliers:
    """A LayerNorm or RMSNorm on a few samples: how far single values stand out of what it normalizes.

    `crest` is max|x| / RMS of a normalized group, mean over the groups, `kurtosis` mean(x^4) / mean(x^2)^2 (3 for a
    Gaussian); `rotated_crest` and `rotated_kurtosis` are those after a random rotation of the features, as quantizers
    use it, None where it was not tried. `features` are the channels whose RMS is above 5 times the median channel's.
    """

    layer: str
    groups: int
    crest: float
    kurtosis: float
    rotated_crest: float | None
    rotated_kurtosis: float | None
    features: tuple[int, ...] = ()
    massive: tuple[MassiveActivation, ...] = ()
