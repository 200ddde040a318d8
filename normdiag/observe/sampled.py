"""A seeded share of an activation's values, where looking at all of them would cost as much as the network itself.

Squared derivatives of smooth functions, and how much of them is saturated, are means over very many values. Places are
drawn at random, one from each of as many equal stretches of the tensor as are wanted; all values at a place (its
units, say) are looked at together. Places are independent of each other, so that their scatter gives the error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.ops import Activation, Pieces, Tails, derivative
from normdiag.records import ActivationSums, Sampled, Span
from normdiag.records.channel_sums import PARTS

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


def parts_of(chosen: NDArray[np.int64], places: int, samples: int, span: Span) -> NDArray[np.int64]:
    """The part of each value (K, M) at the `chosen` (K,) of so many places, M = `samples` at each.

    The M are the samples, or, where there is but one, the places go sample by sample.
    """
    if samples > 1:
        return np.broadcast_to(span.parts(samples), (len(chosen), samples))
    return np.asarray((span.first + chosen * span.samples // max(places, 1)) % PARTS)[:, None]


def sampled_sums(
    activation: Activation, values: Array, places: int, tails: Tails, parts: NDArray[np.int64]
) -> ActivationSums:
    """The sums of an activation from its values (K, M, U) at K of `places` places, M for each of U units.

    `parts` (K, M) are those of the samples. For units that may be dead see `responsive` of the sums: it only holds for
    the values given.
    """
    looked, per_place, units = values.shape
    scale = places / looked
    slopes, mask = (derivative(activation, values) ** 2).sum(2), saturated_mask(values, tails)
    inactive = mask.sum(2)
    size = np.full(slopes.shape, float(units))
    rows = np.stack([size, inactive, size, slopes], 2).reshape(-1, 4)
    table = np.zeros((PARTS, 4))
    np.add.at(table, parts.reshape(-1), rows)
    kind, elements, saturated = activation.kind, places * per_place, mask.sum((0, 1))
    if looked == places:
        return ActivationSums(kind, elements, saturated, table)
    look = Sampled(values.size, elements * units, shared_variance(inactive, places), shared_variance(slopes, places))
    responsive = np.asarray(~mask.all((0, 1)))
    return ActivationSums(kind, elements, saturated * scale, table * scale, False, look, responsive)


def of_pieces(
    kind: str, pieces: Pieces, edges: Tails, elements: int, outside: NDArray[np.int64], span: Span
) -> ActivationSums:
    """The sums of a piecewise linear activation, from how many values (rows, U) are not on its inner piece.

    Rows go sample by sample, each unit has `elements` values.
    """
    rows, units = outside.shape
    beyond = outside.sum(1)
    squares = pieces.outside**2 * beyond + pieces.inside**2 * (elements * units / max(rows, 1) - beyond)
    saturated = outside if edges != Tails() else np.zeros_like(outside)
    return ActivationSums.of(kind, elements, saturated, squares, span)


def shared_variance(sums: Array, places: int) -> float:
    """The variance of the sum over all places and samples that comes from the places alone, from (K, M) of K of them.

    In a table of places by samples it is the component of the rows, of K drawn without putting any back (Cochran 1977,
    section 2.6); what is left in each cell the scatter of the samples shows. 0 for a single sample.
    """
    looked, samples = sums.shape
    if looked < 2 or samples < 2:
        return 0.0
    rows = sums.mean(1, keepdims=True)
    rest = sums - rows - sums.mean(0) + sums.mean()
    alone = rows.var(ddof=1) - (rest**2).sum() / ((looked - 1) * (samples - 1)) / samples
    return max(float(alone), 0.0) * float(samples**2 * places * (places - looked) / looked)
