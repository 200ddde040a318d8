"""Whether a layer's gamma and beta look like gamma and beta, without any data.

Gamma begins at 1 and beta at 0, and in training gamma stays positive in nearly all channels while beta takes both
signs. Values that were exchanged, lost or stored in another form break that in one layer and not in the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from normdiag.metrics.ordered import median
from normdiag.records import NormLayer

Floats = NDArray[np.float64]
FEWEST_CHANNELS = 4
# No network has negative gammas in so many of its channels, layer after layer.
MOSTLY = 0.35
# Beta over gamma, in size: in published networks up to 2.6, and nowhere with a beta that is alike in all channels.
FAR = 3.0


@dataclass(frozen=True)
class Traits:
    """What is compared of a layer's gamma and beta: the size of beta over that of gamma, the share of gamma below 0,
    the median size of gamma; whether beta is positive with little spread, or with hardly any as gammas have it, and
    whether they are 0 and 1 throughout.
    """

    ratio: float
    negative: float
    size: float
    positive_beta: bool
    steady_beta: bool
    beta_is_zero: bool
    gamma_is_one: bool

    @classmethod
    def of(cls, gamma: Floats, beta: Floats) -> Traits:
        """Of values of shape (C,) each."""
        size = float(np.mean(np.abs(gamma)))
        return cls(
            ratio=float(np.mean(np.abs(beta))) / size if size > 0 else 0.0,
            negative=float(np.mean(gamma < 0)),
            size=median(np.abs(gamma)),
            positive_beta=bool(np.mean(beta > 0) >= 0.95 and beta.mean() > 1.5 * beta.std()),
            steady_beta=bool(np.all(beta > 0) and beta.mean() > 4.0 * beta.std()),
            beta_is_zero=bool(np.all(beta == 0)),
            gamma_is_one=bool(np.all(gamma == 1)),
        )


def oddities(layers: Sequence[NormLayer]) -> dict[str, str]:
    """By the name of a layer, what is odd about its gamma and beta beside the usual and the other layers'."""
    known = {layer.name: Traits.of(*pair) for layer in layers if (pair := _pair(layer)) is not None}
    found = {name: odd for name, traits in known.items() if (odd := _alone(traits)) is not None}
    others = {name: traits for name, traits in known.items() if name not in found}
    negative = {name: traits.negative for name, traits in others.items() if traits.negative > MOSTLY}
    if len(negative) > 1 and len(negative) >= 0.6 * len(others):
        also = f"and as many in {len(negative) - 1} other layers"
        return found | {name: f"{share:.0%} of gamma are negative, {also}" for name, share in negative.items()}
    if len(others) > 2:
        beside = _Others(list(others.values()))
        found |= {name: odd for name, traits in others.items() if (odd := _beside(traits, beside)) is not None}
    return found


class _Others:
    """What is largest among the other layers, for each of many without looking at all of them again."""

    def __init__(self, layers: Sequence[Traits]) -> None:
        self._largest = {each.name: sorted(getattr(one, each.name) for one in layers)[-2:] for each in fields(Traits)}

    def largest(self, name: str, own: Traits) -> float:
        """Of all layers but one with these traits."""
        second, first = self._largest[name]
        return float(second if getattr(own, name) == first else first)


def _pair(layer: NormLayer) -> tuple[Floats, Floats] | None:
    if layer.kind != "batch_norm" or layer.gamma is None or layer.beta is None:
        return None
    gamma, beta = np.asarray(layer.gamma, np.float64), np.asarray(layer.beta, np.float64)
    usable = gamma.shape == beta.shape and gamma.size >= FEWEST_CHANNELS
    return (gamma, beta) if usable and np.isfinite(gamma).all() and np.isfinite(beta).all() else None


def _alone(own: Traits) -> str | None:
    """Beta looks like a gamma and gamma like a beta: by signs, or by sizes that no training leads to."""
    if own.positive_beta and own.negative >= 0.15:
        return f"{own.negative:.0%} of gamma are negative and beta is positive: they are exchanged"
    if own.steady_beta and own.ratio > FAR:
        return f"beta is positive, nearly alike in all channels and {own.ratio:.1f} times gamma: they are exchanged"
    return None


def _beside(own: Traits, others: _Others) -> str | None:
    ratio, usual, size = (others.largest(name, own) for name in ("ratio", "negative", "size"))
    if own.positive_beta and own.ratio > max(1.5, 4.0 * ratio):
        return f"beta is positive and {own.ratio:.1f} times gamma, elsewhere at most {ratio:.2g} times: exchanged"
    if own.negative >= 0.3 and own.negative > 3.0 * usual + 0.1:
        return f"{own.negative:.0%} of gamma are negative, at most {usual:.0%} in the other layers"
    if own.beta_is_zero and not others.largest("beta_is_zero", own):
        return "beta is 0 throughout, and in no other layer"
    if own.gamma_is_one and not others.largest("gamma_is_one", own):
        return "gamma is 1 throughout, and in no other layer"
    if 0 < size < own.size / 3.5:
        return f"gamma is {own.size / size:.1f} times as large as in any other layer"
    return None
