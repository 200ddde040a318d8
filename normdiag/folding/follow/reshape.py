"""Through a reshape: sizes on both sides are cut into the smallest blocks that hold the same elements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from normdiag.folding.affine import LIMIT, collapsed, length, rank
from normdiag.folding.obstacle import Obstacle, blocked
from normdiag.graph.sizes import ONE, Block, cut
from normdiag.records import Affine, Op, OpGraph, Sizes
from normdiag.records.model import Array


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


def _moved(values: Array, blocks: Sequence[Block], old: Sizes, new: Sizes) -> Array | None:
    """The values under the new sizes, or None where a block is neither even, nor one to one, nor known in numbers."""
    shape = [1] * len(new)
    dense = [1] * len(old)
    for source, target in blocks:
        if all(values.shape[axis] == 1 for axis in source):
            continue
        sources = [axis for axis in source if old[axis] != ONE]
        targets = [axis for axis in target if new[axis] != ONE]
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
