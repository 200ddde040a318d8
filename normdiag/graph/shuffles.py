"""Moves between channels and positions, as a reshape, a transpose and a reshape.

Each function returns the dimensions of the data read in the same order, taken apart, and the order of the axes that the
transpose puts them in; None where a number is not known. The second reshape puts together what then lies side by side.
"""

from __future__ import annotations

from normdiag.graph.sizes import quotient
from normdiag.records import Size, Sizes

Moved = tuple[Sizes, tuple[int, ...]]


def depth_to_space(sizes: Sizes, block: int, *, block_first: bool) -> Moved | None:
    """(..., C b b, H, W) read as (..., C, b, b, H, W), or (..., b, b, C, H, W); to (..., C, H, b, W, b)."""
    *outer, depth, height, width = sizes
    channels, side = quotient(depth, Size(block * block)), Size(block)
    if channels is None:
        return None
    if block_first:
        return (*outer, side, side, channels, height, width), _after(len(outer), 2, 3, 0, 4, 1)
    return (*outer, channels, side, side, height, width), _after(len(outer), 0, 3, 1, 4, 2)


def space_to_depth(sizes: Sizes, block: int, tensor: str, *, block_first: bool) -> Moved:
    """(..., C, H b, W b) read as (..., C, H, b, W, b); to (..., C, b, b, H, W), or (..., b, b, C, H, W).

    A height or width that is no multiple for sure has a symbol of its own, made of the name of the `tensor`.
    """
    *outer, channels, height, width = sizes
    side = Size(block)
    rows, columns = (
        quotient(size, side) or Size(1, (f"{tensor}/{axis}",)) for size, axis in ((height, "h"), (width, "w"))
    )
    order = (2, 4, 0, 1, 3) if block_first else (0, 2, 4, 1, 3)
    return (*outer, channels, rows, side, columns, side), _after(len(outer), *order)


def channel_shuffle(sizes: Sizes, groups: int) -> Moved | None:
    """(N, g c, ...) read as (N, g, c, ...), g and c swapped."""
    each = quotient(sizes[1], Size(groups))
    if each is None:
        return None
    inner = (sizes[0], Size(groups), each, *sizes[2:])
    return inner, (0, 2, 1, *range(3, len(inner)))


def _after(outer: int, *axes: int) -> tuple[int, ...]:
    return (*range(outer), *(outer + axis for axis in axes))
