"""Through a choice of elements along one axis: slice, gather, flip, and several of these on one tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from normdiag.folding.affine import LIMIT, across, collapsed, identity, length, mapped, rank, same, widened
from normdiag.folding.obstacle import Obstacle, blocked
from normdiag.records import Affine, Op, OpGraph, Take
from normdiag.records.model import Array

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]
NOT_KNOWN = "the channels cannot be followed through {op}: it is not known which it takes"
TOO_MANY = "its channels spread over too many positions in {op}"
NO_FIT = "the channels cannot be followed through {op}: its axis does not fit its data"


def take_up(op: Op, known: Mapping[int, Affine], graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """Each element takes what the outputs that it goes to ask for; those that go nowhere stay as they are."""
    take = op.detail
    assert isinstance(take, Take)
    each = {i: _with_axis(affine, take) for i, affine in known.items()}
    first = next(iter(each.values()))
    if not -rank(first) <= take.axis < rank(first):
        return blocked(op, NO_FIT)
    axis = take.axis % rank(first)
    alike = length(first, axis) == 1 and all(same(first, other) for other in each.values())
    if alike and len(each) == len(take.picks):
        return {0: first}
    sizes = graph.sizes.get(op.inputs[0])
    size = sizes[axis].known if sizes and len(sizes) == rank(first) else None
    if size is None or None in take.picks:
        return blocked(op, NOT_KNOWN)
    every = [each.get(i) or identity(rank(first)) for i in range(len(take.picks))]
    return _together(op, take, every, axis, size)


def _together(op: Op, take: Take, every: list[Affine], axis: int, size: int) -> dict[int, Affine] | Obstacle:
    """What all outputs ask for, as one map of the input."""
    shape = across(every, axis)
    if shape is None:
        return blocked(op, NO_FIT)
    if math.prod(shape) * size > LIMIT or _too_many(take):
        return blocked(op, TOO_MANY)
    places = [np.asarray(picks, np.int64) for picks in take.picks]
    if any(not _fits(affine, axis, place, size) for affine, place in zip(every, places, strict=True)):
        return blocked(op, NO_FIT)
    shape = (*shape[:axis], size, *shape[axis + 1 :])
    scale = _gathered([affine.scale for affine in every], places, axis, shape, 1.0)
    shift = _gathered([affine.shift for affine in every], places, axis, shape, 0.0)
    if scale is None or shift is None:
        return blocked(op, "{op} takes some channels more than once, and they are scaled differently")
    return {0: Affine(scale, shift)}


def take_down(op: Op, known: Mapping[int, Affine], _graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """Each output gets what its elements had."""
    take, affine = op.detail, known[0]
    assert isinstance(take, Take)
    if not -rank(affine) <= take.axis < rank(affine):
        return blocked(op, NO_FIT)
    axis = take.axis % rank(affine)
    if length(affine, axis) == 1:
        return {i: _without_axis(affine, take.removed, axis) for i in range(len(take.picks))}
    if None in take.picks or _too_many(take):
        return blocked(op, NOT_KNOWN if None in take.picks else TOO_MANY)
    places = [np.asarray(picks, np.int64) for picks in take.picks if picks is not None]
    if any(place.size and not 0 <= place.min() <= place.max() < length(affine, axis) for place in places):
        return blocked(op, NO_FIT)
    return {i: _without_axis(_picked(affine, place, axis), take.removed, axis) for i, place in enumerate(places)}


def _too_many(take: Take) -> bool:
    return sum(len(picks or ()) for picks in take.picks) > LIMIT


def _with_axis(affine: Affine, take: Take) -> Affine:
    if not take.removed:
        return affine
    axis = take.axis % (rank(affine) + 1)
    return mapped(affine, lambda values: np.expand_dims(values, axis))


def _without_axis(affine: Affine, removed: bool, axis: int) -> Affine:
    return mapped(affine, lambda values: values.squeeze(axis)) if removed else affine


def _picked(affine: Affine, place: Indices, axis: int) -> Affine:
    if not place.size:
        return identity(rank(affine))
    return mapped(affine, lambda v: v if v.shape[axis] == 1 else collapsed(v.take(place, axis)))


def _fits(affine: Affine, axis: int, place: Indices, size: int) -> bool:
    inside = not place.size or 0 <= place.min() <= place.max() < size
    return bool(inside and length(affine, axis) in (1, place.size))


def _gathered(
    arrays: list[Array], places: list[Indices], axis: int, shape: tuple[int, ...], neutral: float
) -> Array | None:
    """The values of all outputs at their places; None where two of them are at odds over one place."""
    whole = np.moveaxis(np.full(shape, neutral), axis, 0)
    taken = np.zeros(len(whole), bool)
    for array, place in zip(arrays, places, strict=True):
        wide = widened(array, axis, place.size) if array.shape[axis] == 1 else array
        new = np.broadcast_to(np.moveaxis(wide, axis, 0), (place.size, *whole.shape[1:]))
        again = taken[place]
        if (whole[place[again]] != new[again]).any():
            return None
        whole[place], taken[place] = new, True
        if (whole[place] != new).any():
            return None
    return collapsed(np.moveaxis(whole, 0, axis))
