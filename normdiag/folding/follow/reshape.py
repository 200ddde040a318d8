"""Through a reshape: sizes on both sides are cut into the smallest blocks that hold the same elements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from normdiag.folding.affine import LIMIT, collapsed, length, rank
from normdiag.folding.obstacle import Obstacle, blocked
from normdiag.graph.sizes import product
from normdiag.records import Affine, Op, OpGraph, Size, Sizes
from normdiag.records.model import Array

Block = tuple[range, range]
_ONE = Size(1)


def reshape_up(op: Op, known: Mapping[int, Affine], graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """From the sizes of the output to those of the input."""
    return _reshaped(op, known[0], graph.sizes.get(op.outputs[0]), graph.sizes.get(op.inputs[0]))


def reshape_down(op: Op, known: Mapping[int, Affine], graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """From the sizes of the input to those of the output."""
    return _reshaped(op, known[0], graph.sizes.get(op.inputs[0]), graph.sizes.get(op.outputs[0]))


def _reshaped(op: Op, affine: Affine, old: Sizes | None, new: Sizes | None) -> dict[int, Affine] | Obstacle:
    if old is None or new is None or len(old) != rank(affine):
        return blocked(op, "the channels cannot be followed through {op}: its sizes are unknown")
    if any(size.factor == 0 for size in (*old, *new)):
        return blocked(op, "the channels cannot be followed through {op}: it has no elements")
    if any(length(affine, axis) not in (1, size.known or length(affine, axis)) for axis, size in enumerate(old)):
        return blocked(op, "the channels cannot be followed through {op}: its sizes do not fit")
    blocks = cut(old, new)
    scale, shift = (_moved(values, blocks, old, new) for values in (affine.scale, affine.shift))
    if scale is None or shift is None:
        return blocked(op, "the channels cannot be followed through {op}")
    return {0: Affine(scale, shift)}


def cut(old: Sizes, new: Sizes) -> tuple[Block, ...]:
    """The smallest runs of dimensions on either side that hold the same elements, without dimensions of size 1.

    Both sides hold as many elements in all. So two beginnings end at one place where they hold equally many, and two
    ends begin at one place where they do: the second counts where a free dimension in front hides the first.
    """
    left = [axis for axis, size in enumerate(old) if size != _ONE]
    right = [axis for axis, size in enumerate(new) if size != _ONE]
    ahead = _meeting([old[axis] for axis in left], [new[axis] for axis in right])
    behind = _meeting([old[axis] for axis in reversed(left)], [new[axis] for axis in reversed(right)])
    cuts = sorted({(0, 0), (len(left), len(right)), *ahead, *((len(left) - i, len(right) - j) for i, j in behind)})
    if any(j > m for (_, j), (_, m) in pairwise(cuts)):
        return ()  # the sizes contradict each other
    return tuple((_span(left, i, k), _span(right, j, m)) for (i, j), (k, m) in pairwise(cuts) if k > i and m > j)


def _meeting(left: Sequence[Size], right: Sequence[Size]) -> list[tuple[int, int]]:
    """How many dimensions from the start hold equally many elements on both sides."""
    products = {product(left[:end]): end for end in range(1, len(left) + 1)}
    ends = ((products.get(product(right[:end])), end) for end in range(1, len(right) + 1))
    return [(found, end) for found, end in ends if found is not None]


def _span(axes: Sequence[int], start: int, stop: int) -> range:
    return range(axes[start], axes[stop - 1] + 1)


def _moved(values: Array, blocks: Sequence[Block], old: Sizes, new: Sizes) -> Array | None:
    """The values under the new sizes, or None where a block is neither even, nor one to one, nor known in numbers."""
    shape = [1] * len(new)
    dense = [1] * len(old)
    for source, target in blocks:
        if all(values.shape[axis] == 1 for axis in source):
            continue
        sources = [axis for axis in source if old[axis] != _ONE]
        targets = [axis for axis in target if new[axis] != _ONE]
        if len(sources) == len(targets) == 1:
            if {old[sources[0]].known, new[targets[0]].known} - {None, values.shape[sources[0]]}:
                return None
            dense[sources[0]] = shape[targets[0]] = values.shape[sources[0]]
        elif not _write_known(dense, old, sources) or not _write_known(shape, new, targets):
            return None
    uncovered = any(size > dense[axis] for axis, size in enumerate(values.shape))
    if uncovered or math.prod(dense) != math.prod(shape) or math.prod(shape) > LIMIT:
        return None
    return collapsed(np.broadcast_to(values, dense).reshape(shape))


def _write_known(shape: list[int], sizes: Sizes, axes: Sequence[int]) -> bool:
    """Enter the sizes of these axes, where all are known numbers."""
    for axis in axes:
        known = sizes[axis].known
        if known is None:
            return False
        shape[axis] = known
    return True
