"""How a channel of activations is distributed, as far as weights, gamma and beta say: the law after a BatchNorm.

After BatchNorm a channel has mean beta and standard deviation |gamma|, whatever came before: that is what the layer
is for. Its shape is taken to be Gaussian. A law is carried as the means of POINTS equally likely slices of it, so that
any function of the values is followed by applying it to each of them, and a mean is a plain mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from normdiag.ops import FUNCTIONS
from normdiag.records import NormLayer, Pointwise

Floats = NDArray[np.float64]
# The mean of a ReLU is then within 0.005 standard deviations of its closed form, |gamma| phi(a) + beta Phi(a).
POINTS = 32
# Channels whose sums are sorted at a time, 512 KB of them: those of a wide layer at once are mostly fresh memory.
TOGETHER = 64
# A channel that keeps less than this of its gamma passes on its bias alone (ND103: a variance of eps/100).
KEPT = 0.1
# After a layer with more such channels, whether by damage or by training, what it passed on in training is not known.
MOST_DEAD = 0.5


@dataclass(frozen=True, eq=False)
class Law:
    """Of a tensor with C channels along `axis`: the mean of each, and where known its distribution.

    `mean` is float64 (C,). `values` (C, POINTS) are the means of equally likely slices, as functions of the output of
    the norm that `source` names; None where only the mean is known, as after a convolution.
    """

    mean: Floats
    axis: int
    values: Floats | None = None
    source: str | None = None


@cache
def normal_points() -> Floats:
    """Means of POINTS equally likely slices of the standard normal distribution, ascending, float64 (POINTS,)."""
    normal = NormalDist()
    edges = [-math.inf, *(normal.inv_cdf(i / POINTS) for i in range(1, POINTS)), math.inf]
    density = np.array([normal.pdf(edge) if math.isfinite(edge) else 0.0 for edge in edges])
    return np.asarray(POINTS * (density[:-1] - density[1:]))


def after_norm(layer: NormLayer, axis: int, source: str) -> Law | None:
    """The law of a BatchNorm's output: mean beta, standard deviation |gamma| sqrt(var / (var + eps)).

    None where its gamma, beta or variance are unknown or no numbers, and where at least half of its channels are dead:
    that tends to be a fault of this layer, and those after it have seen another output in training.
    """
    channels = layer.channels
    if channels is None or layer.running_var is None:
        return None
    var = np.asarray(layer.running_var, np.float64)
    gamma = np.ones(channels) if layer.gamma is None else np.asarray(layer.gamma, np.float64)
    beta = np.zeros(channels) if layer.beta is None else np.asarray(layer.beta, np.float64)
    with np.errstate(all="ignore"):
        scale = gamma * np.sqrt(var / (var + (layer.eps or 0.0)))
    if {var.shape, gamma.shape, beta.shape} != {(channels,)} or not np.isfinite(scale * beta).all():
        return None
    if np.mean(np.abs(scale) <= KEPT * np.abs(gamma)) >= MOST_DEAD:
        return None
    return Law(beta, axis, beta[:, None] + scale[:, None] * normal_points(), source)


def applied(law: Law, function: Callable[[Floats], Floats]) -> Law | None:
    """The law after a function of each value; None where the distribution before it is not known."""
    if law.values is None:
        return None
    with np.errstate(all="ignore"):
        values = function(law.values)
    return replace(law, mean=values.mean(axis=1), values=values)


def through(function: Pointwise, law: Law) -> Law | None:
    """The law after a function of one tensor; None where function or distribution are not known."""
    if function.kind == "prelu":
        return _through_prelu(function, law)
    known = FUNCTIONS.get(function.kind)
    return None if known is None else applied(law, lambda x: known.value(function, x))


def product(left: Law, right: Law) -> Law | None:
    """The law of a product of two functions of the same values: x * sigmoid(x), say."""
    factor = right.values
    if factor is None or left.source is None or (left.source, left.axis) != (right.source, right.axis):
        return None
    return applied(left, lambda x: np.asarray(x * factor))


def signed_sum(laws: Sequence[Law], signs: Sequence[int], name: str) -> Law:
    """The law of a sum of tensors with as many channels each.

    Its mean is exact, and so is its distribution where all are functions of one norm's output. Summands of different
    norms are taken to be independent: they are not, but in trained ResNets the mean after the ReLU that follows is
    as right as that after a single norm (ND209).
    """
    mean = np.sum([sign * law.mean for sign, law in zip(signs, laws, strict=True)], axis=0)
    parts: dict[str | None, Floats] = {}
    for sign, law in zip(signs, laws, strict=True):
        if law.values is None:
            return Law(mean, laws[0].axis)
        parts[law.source] = parts.get(law.source, 0.0) + sign * law.values
    (source, total), *others = parts.items()
    for _, values in others:
        total = _slices_of_sums(total, values)
    return Law(mean, laws[0].axis, total, name if others else source)


def _slices_of_sums(left: Floats, right: Floats) -> Floats:
    """The means of POINTS equally likely slices of all sums of two independent values, (C, POINTS) each."""
    slices = np.empty_like(left)
    for start in range(0, len(left), TOGETHER):
        some = slice(start, start + TOGETHER)
        sums = left[some, :, None] + right[some, None, :]
        sums.reshape(len(sums), -1).sort(axis=1)
        slices[some] = sums.mean(2)
    return slices


def _through_prelu(function: Pointwise, law: Law) -> Law | None:
    slope = None if function.slope is None else np.asarray(function.slope.read(), np.float64)
    if slope is None or slope.size not in (1, len(law.mean)):
        return None
    column = slope.reshape(-1, 1)
    return applied(law, lambda x: np.where(x > 0, x, column * x))
