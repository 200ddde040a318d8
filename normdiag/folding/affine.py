"""Arithmetic with affine maps that are carried along a tensor (records.Affine): pure numpy, float64."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from normdiag.records import Affine
from normdiag.records.model import Array

# Numbers in one carried array: 32 MB. Only a hostile or a very odd graph spreads channels over more positions.
LIMIT = 4_000_000


def identity(rank: int) -> Affine:
    """y = x on a tensor of this rank."""
    return Affine(np.ones((1,) * rank), np.zeros((1,) * rank))


def scaling(scale: Array) -> Affine:
    """y = scale * x."""
    return Affine(scale, np.zeros((1,) * scale.ndim))


def compose(first: Affine, then: Affine) -> Affine:
    """`then` applied to what `first` gives; both of one rank."""
    return Affine(then.scale * first.scale, then.scale * first.shift + then.shift)


def mapped(affine: Affine, change: Callable[[Array], Array]) -> Affine:
    """The same change of layout made to scale and shift."""
    return Affine(change(affine.scale), change(affine.shift))


def is_identity(affine: Affine) -> bool:
    """Whether it changes nothing, exactly."""
    return not scales(affine) and not shifts(affine)


def scales(affine: Affine) -> bool:
    """Whether any factor is not exactly 1."""
    return bool((affine.scale != 1).any())


def shifts(affine: Affine) -> bool:
    """Whether any shift is not exactly 0."""
    return bool((affine.shift != 0).any())


def same(left: Affine, right: Affine) -> bool:
    """Whether both are one map, exactly."""
    return np.array_equal(left.scale, right.scale) and np.array_equal(left.shift, right.shift)


def rank(affine: Affine) -> int:
    """The rank of the tensor that it is carried on."""
    return affine.scale.ndim


def varying(affine: Affine) -> tuple[int, ...]:
    """The axes along which scale or shift is more than one number."""
    return tuple(axis for axis in range(rank(affine)) if length(affine, axis) > 1)


def length(affine: Affine, axis: int) -> int:
    """How many numbers it holds along one axis: 1, or the size of the tensor there."""
    return max(int(affine.scale.shape[axis]), int(affine.shift.shape[axis]))


def numbers(affine: Affine) -> int:
    """How many numbers it holds."""
    return affine.scale.size + affine.shift.size


def placed(values: Array, axis: int, rank: int) -> Array:
    """A vector laid along one axis of a tensor of this rank, float64."""
    shape = [1] * rank
    shape[axis] = -1
    return np.asarray(values, np.float64).reshape(shape)


def collapsed(values: Array) -> Array:
    """The same values with size 1 along every axis where they are all equal."""
    for axis in range(values.ndim):
        if values.shape[axis] > 1:
            head = values[(slice(None),) * axis + (slice(0, 1),)]
            values = head if (values == head).all() else values
    return values


def across(affines: Iterable[Affine], axis: int) -> tuple[int, ...] | None:
    """The shape in which all of them fit, with 1 along `axis`; None where they do not fit each other."""
    arrays = [array for affine in affines for array in (affine.scale, affine.shift)]
    try:
        return np.broadcast_shapes(*((*array.shape[:axis], 1, *array.shape[axis + 1 :]) for array in arrays))
    except ValueError:
        return None


def widened(values: Array, axis: int, size: int) -> Array:
    """The values repeated along one axis where they were one number."""
    shape = list(values.shape)
    shape[axis] = size
    return np.broadcast_to(values, shape)
