"""A seeded share of an activation's values, where looking at all of them would cost as much as the network itself.

Squared derivatives of smooth functions, and how much of them is saturated, are means over very many values. Places are
drawn at random, one from each of as many equal stretches of the tensor as are wanted; all values at a place (its
units, say) are looked at together. Places are independent of each other, so that their scatter gives the error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.ops import Activation, Tails, derivative
from normdiag.records import ActivationSums, Sampled

Array = NDArray[Any]
# Values of an activation and batch that are looked at; no more than these, all are. Their derivatives take 0.2 ms.
BUDGET = 2**14
SEED = 0
# Fewer would not tell their own scatter.
FEWEST = 8


def wanted(places: int, values: int) -> int:
    """At how many of its places to look at a tensor of so many values."""
    return min(places, max(FEWEST, BUDGET * places // max(values, 1)))


def choose(places: int, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """One place at random in each of `count` equal stretches of `places`, ascending; each place equally likely.

    Two stretches that meet in a place may both draw it.
    """
    if count >= places:
        return np.arange(places)
    return np.minimum((np.arange(count) + random.random(count)) * (places / count), places - 1).astype(np.int64)


def saturated_mask(x: Array, tails: Tails) -> NDArray[np.bool_]:
    """Which values lie in the saturated tails, compared in the precision that they have."""
    kind = x.dtype.type
    lower, upper = kind(tails.lower), kind(tails.upper)
    return np.asarray((x <= lower) | (x >= upper) if tails.closed else (x < lower) | (x > upper))


def sampled_sums(
    activation: Activation, values: Array, places: int, tails: Tails, counted: NDArray[np.int64] | None
) -> ActivationSums:
    """The sums of an activation from its values (K, M, U) at K of `places` places, M for each of U units.

    `counted` (U,) are its saturated values where all of them were counted. The error is that of drawing K places
    without putting any back; for units that may be dead see `responsive` of the sums: here it only holds for the
    values given.
    """
    looked, per_place, units = values.shape
    scale = places / looked
    slopes = (derivative(activation, values) ** 2).sum((1, 2))
    mask = saturated_mask(values, tails)
    saturated = mask.sum((0, 1)) * scale if counted is None else counted
    responsive = np.asarray(~mask.all((0, 1)) if counted is None else counted < places * per_place)
    kind, elements, square = activation.kind, places * per_place, float(slopes.sum()) * scale
    if looked == places:
        exact = saturated if counted is not None else mask.sum((0, 1))
        return ActivationSums(kind, elements, exact, square)
    variance = 0.0 if counted is not None else _variance(mask.sum((1, 2)), places)
    look = Sampled(values.size, elements * units, variance, _variance(slopes, places))
    return ActivationSums(kind, elements, saturated, square, False, look, responsive)


def _variance(sums: Array, places: int) -> float:
    """Of the sum over all places, estimated from that of some (Cochran 1977, section 2.6)."""
    looked = len(sums)
    return float(np.var(sums, ddof=1)) * places * (places - looked) / looked if looked > 1 else 0.0
