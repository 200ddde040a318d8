"""Where the samples of a batch are in a tensor, followed through changes of its shape; pure arithmetic on sizes.

A graph that was exported with a fixed number of samples holds that number in constants. They are found by following the
axis of the samples: a reshape merges it with others and splits it off again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod

Sizes = Sequence[int]


@dataclass(frozen=True)
class BatchPlace:
    """The samples are on `axis`, `outer` times over: that many entries of the axis lie side by side in one sample.

    (heads * N, L, C) after a transpose has the samples on axis 0 with outer = heads; (N * heads, L, C) with outer = 1.
    """

    axis: int
    outer: int = 1


def after_reshape(place: BatchPlace, before: Sizes, after: Sizes, samples: int) -> BatchPlace | None:
    """The place after a reshape between these sizes, which hold `samples` samples; None where it cannot be told.

    At the border of two axes both could hold the samples. The later one does, but for the last axis, which holds
    features, unless it holds as many entries as there are samples.
    """
    outer = prod(before[: place.axis]) * place.outer
    starts = list(accumulate(after, lambda total, size: total * size, initial=1))
    inside = [k for k in range(len(after)) if starts[k] <= outer < starts[k + 1] and outer % starts[k] == 0]
    at_border = [k for k in range(len(after)) if starts[k] == outer]
    exact = [k for k in at_border if after[k] == samples]
    if exact:
        return BatchPlace(exact[0])
    axis = (inside or at_border or [-1])[0]
    if axis < 0:
        return None
    if starts[axis] == outer and axis and axis == len(after) - 1:
        return BatchPlace(axis - 1, after[axis - 1])
    return BatchPlace(axis, outer // starts[axis])


def after_transpose(place: BatchPlace, order: Sizes) -> BatchPlace:
    """The place after axes were put in another order."""
    return BatchPlace(list(order).index(place.axis), place.outer)


def after_broadcast(place: BatchPlace, rank: int, result_rank: int) -> BatchPlace | None:
    """The place in a result that is aligned at the last axis; None where axes were lost."""
    return BatchPlace(place.axis + result_rank - rank, place.outer) if result_rank >= rank else None


def after_reduction(place: BatchPlace, axes: Sizes, rank: int, *, keeps: bool) -> BatchPlace | None:
    """The place after axes were reduced, squeezed or picked from; None where the samples' is among them."""
    gone = {axis % rank for axis in axes}
    if place.axis in gone:
        return place if keeps else None
    return place if keeps else BatchPlace(place.axis - sum(axis < place.axis for axis in gone), place.outer)


def freed(sizes: Sizes, place: BatchPlace) -> list[int]:
    """The sizes as a shape for a reshape that takes any number of samples."""
    return [-1 if axis == place.axis else size for axis, size in enumerate(sizes)]
