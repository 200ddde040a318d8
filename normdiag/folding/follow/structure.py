"""Through operations that keep every channel in one place: identity, transpose, pool and their like."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from normdiag.folding.affine import mapped, rank, shifts, varying
from normdiag.folding.obstacle import Obstacle, blocked
from normdiag.records import Affine, Op, OpGraph, Transpose, Window


def pass_through(_op: Op, known: Mapping[int, Affine], _graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """As it is, either way."""
    return {0: known[0]}


def transpose_up(op: Op, known: Mapping[int, Affine], _graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """Output axis i was input axis perm[i]."""
    perm = _permutation(op, known[0])
    if isinstance(perm, Obstacle):
        return perm
    back = tuple(int(axis) for axis in np.argsort(perm))
    return {0: mapped(known[0], lambda values: values.transpose(back))}


def transpose_down(op: Op, known: Mapping[int, Affine], _graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """Input axis perm[i] becomes output axis i."""
    perm = _permutation(op, known[0])
    if isinstance(perm, Obstacle):
        return perm
    return {0: mapped(known[0], lambda values: values.transpose(perm))}


def _permutation(op: Op, affine: Affine) -> tuple[int, ...] | Obstacle:
    assert isinstance(op.detail, Transpose)
    perm = tuple(axis % len(op.detail.perm) for axis in op.detail.perm)
    if sorted(perm) != list(range(rank(affine))):
        return blocked(op, "the channels cannot be followed through {op}: its axes do not fit its data")
    return perm


def window_up(op: Op, known: Mapping[int, Affine], _graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """Axes that the window removed come back with size 1."""
    window = op.detail
    assert isinstance(window, Window)
    affine = known[0]
    if window.removed:
        full = rank(affine) + len(window.axes)
        axes = tuple(sorted(axis % full for axis in window.axes))
        affine = mapped(affine, lambda values: np.expand_dims(values, axes))
    return _commutes(op, window, affine) or {0: Affine(affine.scale, affine.shift / window.total)}


def window_down(op: Op, known: Mapping[int, Affine], _graph: OpGraph) -> dict[int, Affine] | Obstacle:
    """Axes that the window removes are dropped: nothing may vary along them."""
    window = op.detail
    assert isinstance(window, Window)
    affine = known[0]
    obstacle = _commutes(op, window, affine)
    if obstacle:
        return obstacle
    if window.removed:
        axes = tuple(axis % rank(affine) for axis in window.axes)
        affine = mapped(affine, lambda values: values.squeeze(axes))
    return {0: Affine(affine.scale, affine.shift * window.total)}


def _commutes(op: Op, window: Window, affine: Affine) -> Obstacle | None:
    """Whether the window of the map is the map of the window; `affine` in the axes of its input."""
    axes = {axis % rank(affine) for axis in window.axes if -rank(affine) <= axis < rank(affine)}
    if len(axes) < len(window.axes):
        return blocked(op, "the channels cannot be followed through {op}: its axes do not fit its data")
    if axes & set(varying(affine)):
        does = "mixes" if op.kind in ("pool", "resize") else "moves or drops"
        return blocked(op, f"{{op}} {does} what is scaled differently")
    if window.scale == "non_negative" and (affine.scale < 0).any():
        count = int((affine.scale < 0).sum())
        return blocked(
            op, f"{{op}} takes the maximum, and {count} of its scales {'are' if count > 1 else 'is'} negative"
        )
    if not window.shift and shifts(affine):
        return blocked(op, f"{{op}} {window.why_not}, which its shift cannot pass", shift_only=True)
    return None
