"""Whether a layer's gamma and beta look like gamma and beta, without any data.

Gamma begins at 1 and beta at 0, and in training gamma stays positive in nearly all channels while beta takes both
signs. Values that were exchanged, lost or stored in another form break that in one layer and not in the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from normdiag.records import NormLayer

Floats = NDArray[np.float64]
FEWEST_CHANNELS = 4


def oddities(layers: Sequence[NormLayer]) -> dict[str, str]:
    """By the name of a layer, what is odd about its gamma and beta beside the usual and the other layers'."""
    known = {layer.name: pair for layer in layers if (pair := _pair(layer)) is not None}
    found = {name: odd for name, (gamma, beta) in known.items() if (odd := _alone(gamma, beta)) is not None}
    others = {name: pair for name, pair in known.items() if name not in found}
    negative = [name for name, (gamma, _) in others.items() if np.mean(gamma < 0) > 0.5]
    if len(negative) > 1 and len(negative) >= 0.6 * len(others):
        return found | {name: f"most of gamma is negative, as in {len(negative) - 1} other layers" for name in negative}
    for name, pair in others.items():
        rest = [each for other, each in others.items() if other != name]
        odd = _beside(*pair, rest) if len(rest) > 1 else None
        if odd is not None:
            found[name] = odd
    return found


def _pair(layer: NormLayer) -> tuple[Floats, Floats] | None:
    if layer.kind != "batch_norm" or layer.gamma is None or layer.beta is None:
        return None
    gamma, beta = np.asarray(layer.gamma, np.float64), np.asarray(layer.beta, np.float64)
    usable = gamma.shape == beta.shape and gamma.size >= FEWEST_CHANNELS
    return (gamma, beta) if usable and np.isfinite(gamma).all() and np.isfinite(beta).all() else None


def _alone(gamma: Floats, beta: Floats) -> str | None:
    """Beta looks like a gamma and gamma like a beta."""
    beta_like_gamma = np.mean(beta > 0) >= 0.95 and beta.mean() > 1.5 * beta.std()
    gamma_like_beta = np.mean(gamma < 0) >= 0.15
    if beta_like_gamma and gamma_like_beta:
        return f"{np.mean(gamma < 0):.0%} of gamma are negative and beta is positive: they are exchanged"
    return None


def _beside(gamma: Floats, beta: Floats, others: Sequence[tuple[Floats, Floats]]) -> str | None:
    positive = np.mean(beta > 0) >= 0.95 and beta.mean() > 1.5 * beta.std()
    ratio, ratios = _ratio(gamma, beta), [_ratio(*each) for each in others]
    if positive and ratio > max(1.5, 4.0 * max(ratios)):
        return f"beta is positive and {ratio:.1f} times gamma, elsewhere at most {max(ratios):.2g} times: exchanged"
    negative = float(np.mean(gamma < 0))
    usual = max(float(np.mean(each < 0)) for each, _ in others)
    if negative >= 0.3 and negative > 3.0 * usual + 0.1:
        return f"{negative:.0%} of gamma are negative, at most {usual:.0%} in the other layers"
    if np.all(beta == 0) and not any(np.all(each == 0) for _, each in others):
        return "beta is 0 throughout, and in no other layer"
    if np.all(gamma == 1) and not any(np.all(each == 1) for each, _ in others):
        return "gamma is 1 throughout, and in no other layer"
    size = float(np.median(np.abs(gamma)))
    sizes = [float(np.median(np.abs(each))) for each, _ in others]
    if size > 3.5 * max(sizes):
        return f"gamma is {size / max(sizes):.1f} times as large as in any other layer"
    return None


def _ratio(gamma: Floats, beta: Floats) -> float:
    """Size of beta over size of gamma."""
    size = float(np.mean(np.abs(gamma)))
    return float(np.mean(np.abs(beta))) / size if size > 0 else 0.0
