"""Through operations with several inputs or outputs: concat, split, add."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from normdiag.folding.affine import LIMIT, across, collapsed, identity, length, mapped, rank, same, scaling, widened
from normdiag.folding.obstacle import Obstacle, blocked
from normdiag.records import Add, Affine, Concat, Op, OpGraph, Select, Size, Sizes, Split
from normdiag.records.model import Array


def concat_up(op: Op, known: Mapping[int, Affine], graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """Each input gets its slice."""
    assert isinstance(op.detail, Concat)
    return _sliced(op, known[0], op.detail.axis, len(op.inputs), _sizes_along(op, known[0], op.detail.axis, graph))


def concat_down(op: Op, known: Mapping[int, Affine], graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """Inputs side by side; one that does not change counts as the identity."""
    assert isinstance(op.detail, Concat)
    first = next(iter(known.values()))
    parts = _sizes_along(op, first, op.detail.axis, graph)
    return _joined(op, known, op.detail.axis, len(op.inputs), parts)


def split_up(op: Op, known: Mapping[int, Affine], _graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """Outputs side by side; one that does not change counts as the identity."""
    assert isinstance(op.detail, Split)
    return _joined(op, known, op.detail.axis, len(op.detail.parts), op.detail.parts)


def split_down(op: Op, known: Mapping[int, Affine], _graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """Each output gets its slice."""
    assert isinstance(op.detail, Split)
    return _sliced(op, known[0], op.detail.axis, len(op.detail.parts), op.detail.parts)


def _sizes_along(op: Op, affine: Affine, axis: int, graph: OpGraph) -> tuple[int, ...] | None:
    """The sizes of the inputs along the axis, where all are known numbers."""
    sizes = [graph.sizes.get(name) for name in op.inputs]
    found = [each[axis].known if each and len(each) == rank(affine) else None for each in sizes]
    return tuple(size for size in found if size is not None) if None not in found else None


def _sliced(
    op: Op, affine: Affine, axis: int, count: int, parts: tuple[int, ...] | None
) -> dict[int, Affine] | Obstacle:
    if not -rank(affine) <= axis < rank(affine):
        return blocked(op, "the channels cannot be followed through {op}: its axis does not fit its data")
    axis %= rank(affine)
    if length(affine, axis) == 1:
        return dict.fromkeys(range(count), affine)
    if parts is None or sum(parts) != length(affine, axis):
        return blocked(op, "the channels cannot be followed through {op}: the sizes of its parts are unknown")
    ends = np.cumsum((0, *parts)).tolist()
    return {i: _part(affine, axis, ends[i], ends[i + 1]) for i in range(count)}


def _part(affine: Affine, axis: int, start: int, stop: int) -> Affine:
    def cut(values: Array) -> Array:
        return values if values.shape[axis] == 1 else collapsed(values[(slice(None),) * axis + (slice(start, stop),)])

    return mapped(affine, cut) if stop > start else identity(rank(affine))


def _joined(
    op: Op, known: Mapping[int, Affine], axis: int, count: int, parts: tuple[int, ...] | None
) -> dict[int, Affine] | Obstacle:
    first = next(iter(known.values()))
    if not -rank(first) <= axis < rank(first):
        return blocked(op, "the channels cannot be followed through {op}: its axis does not fit its data")
    axis %= rank(first)
    if len(known) == count and length(first, axis) == 1 and all(same(first, each) for each in known.values()):
        return {0: first}
    if parts is None:
        return blocked(op, "the channels cannot be followed through {op}: the sizes of its parts are unknown")
    every = [known.get(index) or identity(rank(first)) for index in range(count)]
    shape = across(every, axis)
    if shape is not None and math.prod(shape) * sum(parts) > LIMIT:
        return blocked(op, "its channels spread over too many positions in {op}")
    if shape is None or any(length(each, axis) not in (1, size) for each, size in zip(every, parts, strict=True)):
        return blocked(op, "the channels cannot be followed through {op}: its sizes do not fit")
    scale, shift = (
        _side_by_side(values, axis, parts) for values in zip(*((a.scale, a.shift) for a in every), strict=True)
    )
    return {0: Affine(scale, shift)}


def _side_by_side(arrays: Sequence[Array], axis: int, parts: Sequence[int]) -> Array:
    shape = list(np.broadcast_shapes(*((*array.shape[:axis], 1, *array.shape[axis + 1 :]) for array in arrays)))
    wide = [
        np.broadcast_to(
            widened(array, axis, size) if array.shape[axis] == 1 else array, (*shape[:axis], size, *shape[axis + 1 :])
        )
        for array, size in zip(arrays, parts, strict=True)
    ]
    return collapsed(np.concatenate(wide, axis))


def add_up(op: Op, affine: Affine, graph: OpGraph, preferred: Collection[str]) -> dict[int, Affine] | Obstacle:
    """Every branch takes the scale; the first that can, better one of `preferred`, the shift, with its own sign."""
    assert isinstance(op.detail, Add)
    total = graph.sizes.get(op.outputs[0])
    scales = [_on_branch(affine.scale, graph.sizes.get(name), total) for name in op.inputs]
    narrow = next((name for name, scale in zip(op.inputs, scales, strict=True) if scale is None), None)
    if narrow is not None:
        return blocked(op, f"{narrow!r}, which {{op}} adds, does not have all of its channels")
    carried = {i: scaling(scale) for i, scale in enumerate(scales) if scale is not None}
    for index in sorted(range(len(op.inputs)), key=lambda index: op.inputs[index] not in preferred):
        shift = _on_branch(affine.shift, graph.sizes.get(op.inputs[index]), total)
        if shift is not None:
            return {**carried, index: Affine(carried[index].scale, op.detail.signs[index] * shift)}
    return blocked(op, "no branch of {op} has all of its channels")


def select_up(op: Op, known: Mapping[int, Affine], graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """Both of what it chooses from take all of it; a constant becomes as wide as that takes."""
    assert isinstance(op.detail, Select)
    affine, total = known[0], graph.sizes.get(op.outputs[0])
    carried = {}
    for index, name in enumerate(op.inputs[:2]):
        sizes = total if index in op.detail.constants else graph.sizes.get(name)
        parts = [_on_branch(values, sizes, total) for values in (affine.scale, affine.shift)]
        if parts[0] is None or parts[1] is None:
            return blocked(op, f"{name!r}, from which {{op}} chooses, does not have all of its channels")
        carried[index] = Affine(parts[0], parts[1])
    return carried


def select_down(op: Op, known: Mapping[int, Affine], graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """Only where both of what it chooses from come with one map."""
    if set(known) != {0, 1}:
        return blocked(op, "its output goes into {op}, which chooses between it and something else")
    ranks = {len(graph.sizes.get(name, ())) for name in (*op.inputs[:2], op.outputs[0])}
    if ranks != {rank(known[0])} or not same(known[0], known[1]):
        return blocked(op, "its output goes into {op}, which chooses between it and what is scaled differently")
    return {0: known[0]}


def _on_branch(values: Array, sizes: Sizes | None, total: Sizes | None) -> Array | None:
    """The values in the axes of one branch, which is broadcast to `total`; None where the branch is too narrow."""
    if sizes is None:
        return None
    missing: int = values.ndim - len(sizes)
    if missing < 0 or any(size > 1 for size in values.shape[:missing]):
        return None
    kept = values.reshape(values.shape[missing:])
    for axis in range(kept.ndim):
        size = int(kept.shape[axis])
        if size > 1 and sizes[axis] != Size(size) and not (total and sizes[axis] == total[axis + missing]):
            return None
    return kept


def add_down(op: Op, known: Mapping[int, Affine], graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """Only where every branch comes with the same factors: they come out of the sum, the shifts add up."""
    assert isinstance(op.detail, Add)
    if len(known) < len(op.inputs):
        other = next(name for index, name in enumerate(op.inputs) if index not in known)
        return blocked(op, f"its output is added to {other!r} in {{op}}")
    first = known[0]
    ranks = {len(graph.sizes.get(name, ())) for name in op.inputs}
    if ranks != {rank(first)} or any(not np.array_equal(first.scale, each.scale) for each in known.values()):
        return blocked(op, "its output is added in {op} to what is scaled differently")
    shift = np.zeros((1,) * rank(first))
    for index, sign in enumerate(op.detail.signs):
        shift = shift + sign * known[index].shift
    return {0: Affine(first.scale, shift)}
