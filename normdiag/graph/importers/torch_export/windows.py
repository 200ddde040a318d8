"""What mixes positions and keeps channels apart: pools, means, resizing, padding; and what chooses some of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from normdiag.graph.importers.torch_export.calls import Call, axes_of, dtype_of, rank_of, shape_of, sizes_of
from normdiag.graph.importers.torch_export.program import AnchoredOp, Program
from normdiag.graph.sizes import product
from normdiag.records.opgraph import OpKind
from normdiag.records.ops import Pass, Take, Window

Handler = Callable[[Call, Program], tuple[AnchoredOp, ...] | None]
Picks = Sequence[int] | None
# A choice of channels has no more elements than a layer has channels.
MOST_PICKS = 2**16
OWN_DIVISOR = "divides by a number of its own, however many positions it sees"
UNKNOWN_COUNT = "adds up a number of positions that is not known"
_EXTREMES = ("amax", "max", "amin", "min")


def _window(call: Call, program: Program, kind: OpKind, detail: Window | Take | Pass) -> tuple[AnchoredOp, ...] | None:
    """The operation on its first argument, where it returns one tensor, or only the first of several is used."""
    output = program.single_output(call.node)
    if output is None or not program.is_data(call.first):
        return None
    if dtype_of(output) != dtype_of(call.first):
        return None
    nodes = (call.node,) if output is call.node else (call.node, output)
    draft = program.draft(call, kind, detail, (call.first,))
    operator = draft.operator.removesuffix("_with_indices")
    return (AnchoredOp(draft.anchor, operator, kind, detail, draft.inputs, (output.name,), nodes),)


def _last_axes(call: Call) -> tuple[int, ...]:
    """The axes of an operator that has their number in its name: 2 of avg_pool2d."""
    found = re.search(r"([123])d", call.operator)
    count, rank = int(found.group(1)) if found else 1, rank_of(call.first)
    return tuple(range(rank - count, rank))


def _average_pool(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    """Padded zeros count unless count_include_pad is False. ceil_mode alone never counts what lies outside."""
    padding, divisor = call.args.get("padding") or 0, call.args.get("divisor_override")
    padded = any(padding) if isinstance(padding, (list, tuple)) else bool(padding)
    axes = _last_axes(call)
    if divisor is not None:
        partial = padded or bool(call.args.get("ceil_mode"))
        window = Window(axes, shift=not partial, total=_positions_of(call, axes) / divisor, why_not=OWN_DIVISOR)
        return _window(call, program, "pool", window)
    counted = padded and bool(call.args.get("count_include_pad", True))
    return _window(call, program, "pool", Window(axes, shift=not counted))


def _positions_of(call: Call, axes: tuple[int, ...]) -> int:
    """How many positions a window has."""
    kernel = call.args["kernel_size"]
    sizes = [kernel] if isinstance(kernel, int) else list(kernel)
    return math.prod(sizes * len(axes) if len(sizes) == 1 else sizes)


def _adaptive_average(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    return _window(call, program, "pool", Window(_last_axes(call)))


def _max_pool(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    """torch pads with -inf, which never wins."""
    return _window(call, program, "pool", Window(_last_axes(call), scale="non_negative"))


def _reduction(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    """mean, sum, amax, amin over axes, or of everything."""
    if not program.is_data(call.first) or isinstance(call.args.get("other"), Node):
        return None
    axes = axes_of(call.args.get("dim"), rank_of(call.first))
    count = product(sizes_of(call.first)[axis] for axis in axes).known if call.operator == "sum" else 1
    detail = Window(
        axes,
        scale="non_negative" if call.operator in _EXTREMES else "any",
        shift=bool(count),
        removed=not call.args.get("keepdim", False),
        total=float(count or 1),
        why_not=UNKNOWN_COUNT,
    )
    return _window(call, program, "pool", detail)


def _resize(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    """Nearest or with weights that sum to 1 at every position."""
    return _window(call, program, "resize", Window(_last_axes(call)))


def _pad(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    amounts, rank = call.args.get("pad", call.args.get("padding")), rank_of(call.first)
    if not isinstance(amounts, (list, tuple)) or not all(isinstance(each, int) for each in amounts):
        return None
    axes = tuple(sorted({rank - 1 - index // 2 for index, amount in enumerate(amounts) if amount}))
    if not axes:
        return _window(call, program, "identity", Pass())
    constant = call.operator == "constant_pad_nd" or call.args.get("mode") == "constant"
    adds = constant and any(amount > 0 for amount in amounts)
    if adds and call.args.get("value"):
        return None  # what it puts in would have to be scaled too
    index = 2 * (rank - 1 - axes[0])
    before, after = amounts[index], amounts[index + 1]
    zeros = (before, after) if constant and len(axes) == 1 and min(before, after) >= 0 else None
    window = Window(axes, shift=not adds, why_not="puts zeros around its data", zeros=zeros)
    return _window(call, program, "pad", window)


def _take(
    call: Call, program: Program, axis: int, picks: Picks, removed: bool = False
) -> tuple[AnchoredOp, ...] | None:
    return _window(call, program, "other", Take(axis, (picks,), removed))


def _slice(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    (axis,) = axes_of(call.args["dim"], rank_of(call.first))
    start, end, step = (call.args.get(name) for name in ("start", "end", "step"))
    whole = start in (None, 0) and (end is None or (isinstance(end, int) and end >= 2**62)) and step in (None, 1)
    if whole or sizes_of(call.node) == sizes_of(call.first):
        return _window(call, program, "identity", Pass())
    size, bounds = sizes_of(call.first)[axis].known, (start, end, step)
    fixed = size is not None and all(each is None or isinstance(each, int) for each in bounds)
    return _take(call, program, axis, range(size)[slice(*bounds)] if fixed and size is not None else None)


def _narrow(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    (axis,) = axes_of(call.args["dim"], rank_of(call.first))
    size, start, length = sizes_of(call.first)[axis].known, call.args["start"], call.args["length"]
    if size is None or not isinstance(start, int) or not isinstance(length, int):
        return _take(call, program, axis, None)
    first = start % size if size else 0
    return _take(call, program, axis, range(first, first + length))


def _select(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    (axis,), index = axes_of(call.args["dim"], rank_of(call.first)), call.args["index"]
    size = sizes_of(call.first)[axis].known
    picks = (index % size,) if isinstance(index, int) and size else None
    return _take(call, program, axis, picks, removed=True)


def _flip(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    sizes = sizes_of(call.first)
    axes = axes_of(call.args["dims"], len(sizes))
    known = [(axis, sizes[axis].known) for axis in axes]
    return _takes(call, program, [(axis, None if size is None else range(size)[::-1]) for axis, size in known])


def _roll(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    """Each axis by its own shift; without axes, of all elements in a row."""
    sizes, shifts = sizes_of(call.first), call.args["shifts"]
    dims = [axis % len(sizes) for axis in _listed(call.args["dims"])]
    if not dims:
        return _window(call, program, "other", Window(tuple(range(len(sizes)))))
    return _takes(
        call, program, [(axis, _rolled(sizes[axis].known, by)) for axis, by in zip(dims, _listed(shifts), strict=True)]
    )


def _rolled(size: int | None, by: Any) -> Picks:
    if not size or size > MOST_PICKS or not isinstance(by, int):
        return None
    first = -by % size
    return (*range(first, size), *range(first))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _takes(call: Call, program: Program, takes: Sequence[tuple[int, Picks]]) -> tuple[AnchoredOp, ...] | None:
    """One choice after the other, of which none changes the sizes, with tensors between them that are in no program."""
    if not takes:
        return _window(call, program, "identity", Pass())
    whole = _take(call, program, *takes[0])
    if whole is None:
        return None
    names = [f"{call.node.name}.{number}" for number in range(1, len(takes))]
    ends = [*whole[0].inputs, *names, *whole[0].outputs]
    sizes = dict.fromkeys(names, sizes_of(call.first))
    return tuple(
        replace(whole[0], detail=Take(axis, (picks,)), inputs=(before,), outputs=(after,), sizes=sizes)
        for (axis, picks), before, after in zip(takes, ends[:-1], ends[1:], strict=True)
    )


def _index_select(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    (axis,), index = axes_of(call.args["dim"], rank_of(call.first)), call.args["index"]
    return _chosen(call, program, axis, index) if program.is_constant(index) and rank_of(index) == 1 else None


def _chosen(call: Call, program: Program, axis: int, index: Node) -> tuple[AnchoredOp, ...] | None:
    """By a constant vector of indices."""
    size, shape = sizes_of(call.first)[axis].known, shape_of(index)
    if size is None or shape is None or shape[0] > MOST_PICKS:
        return _take(call, program, axis, None)
    values = program.array(index)
    if values.size and not -size <= values.min() <= values.max() < size:
        return None
    return _take(call, program, axis, tuple((values.astype(np.int64) % max(size, 1)).tolist()))


def _index(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    """Positions picked by constant indices, as nearest resizing and reflecting pads decompose; the rank stays."""
    indices = call.args["indices"]
    axes = tuple(axis for axis, each in enumerate(indices) if each is not None)
    adjacent = bool(axes) and axes == tuple(range(axes[0], axes[-1] + 1))
    if not adjacent or rank_of(call.node) != rank_of(call.first) or not _all_positions(indices, program):
        return None
    (first, *more) = (each for each in indices if each is not None)
    if not more and rank_of(first) == 1:
        return _chosen(call, program, axes[0], first)
    return _window(call, program, "other", Window(axes))


def _all_positions(indices: Sequence[Any], program: Program) -> bool:
    given = [each for each in indices if each is not None]
    whole = all(program.is_constant(each) and dtype_of(each) in (torch.int64, torch.int32) for each in given)
    return whole and all(shape_of(each) is not None for each in given)


def _by_operator(names: str, handler: Handler) -> dict[str, Handler]:
    return dict.fromkeys(names.split(), handler)


_RESIZES = """upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d
_upsample_nearest_exact2d _upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d
upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa"""
_PADS = """pad constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d
replication_pad3d _pad_circular"""
_MAX_POOLS = """max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices
_adaptive_max_pool1d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d"""
HANDLERS: Mapping[str, Handler] = {
    **_by_operator("avg_pool1d avg_pool2d avg_pool3d", _average_pool),
    **_by_operator("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d", _adaptive_average),
    **_by_operator("_adaptive_avg_pool2d _adaptive_avg_pool3d", _adaptive_average),
    **_by_operator(_MAX_POOLS, _max_pool),
    **_by_operator("mean sum amax max amin min", _reduction),
    **_by_operator(_RESIZES, _resize),
    **_by_operator(_PADS, _pad),
    **_by_operator("slice", _slice),
    **_by_operator("narrow narrow_copy", _narrow),
    **_by_operator("select", _select),
    **_by_operator("index_select", _index_select),
    **_by_operator("flip", _flip),
    **_by_operator("roll", _roll),
    **_by_operator("index _unsafe_index", _index),
}
