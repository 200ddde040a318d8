"""Arithmetic with dimensions of which some are free (see records.Size)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from normdiag.records import Size, Sizes

ONE = Size(1)
Block = tuple[range, range]


def product(sizes: Iterable[Size]) -> Size:
    """All dimensions multiplied; 1 for none."""
    listed = tuple(sizes)
    symbols = sorted(symbol for size in listed for symbol in size.symbols)
    return Size(math.prod(size.factor for size in listed), tuple(symbols))


def quotient(size: Size, by: Size) -> Size | None:
    """`size / by` where that is a whole number for every value of the free dimensions; else None."""
    left, right = Counter(size.symbols), Counter(by.symbols)
    if by.factor == 0 or size.factor % by.factor or right - left:
        return None
    return Size(size.factor // by.factor, tuple(sorted((left - right).elements())))


def cut(old: Sizes, new: Sizes) -> tuple[Block, ...]:
    """The smallest runs of dimensions on either side of a reshape that hold the same elements, without those of size 1.

    Both sides hold as many elements in all. So two beginnings end at one place where they hold equally many, and two
    ends begin at one place where they do: the second counts where a free dimension in front hides the first.
    """
    left = [axis for axis, size in enumerate(old) if size != ONE]
    right = [axis for axis, size in enumerate(new) if size != ONE]
    starts = _meeting([old[axis] for axis in left], [new[axis] for axis in right])
    ends = _meeting([old[axis] for axis in reversed(left)], [new[axis] for axis in reversed(right)])
    cuts = sorted({(0, 0), (len(left), len(right)), *starts, *((len(left) - i, len(right) - j) for i, j in ends)})
    if any(j > m for (_, j), (_, m) in pairwise(cuts)):
        return ()  # the sizes contradict each other
    return tuple((_span(left, i, k), _span(right, j, m)) for (i, j), (k, m) in pairwise(cuts) if k > i and m > j)


def across(old: Sizes, new: Sizes, axes: Iterable[int]) -> tuple[int, ...] | None:
    """The axes after a reshape that hold what `axes` held before it; None where they hold other elements as well."""
    wanted = {axis for axis in axes if old[axis] != ONE}
    found: list[int] = []
    for source, target in cut(old, new):
        inside = {axis for axis in source if old[axis] != ONE}
        if inside <= wanted:
            found += [axis for axis in target if new[axis] != ONE]
            wanted -= inside
    return tuple(found) if found and not wanted else None


def _meeting(left: Sequence[Size], right: Sequence[Size]) -> list[tuple[int, int]]:
    """How many dimensions from the start hold equally many elements on both sides."""
    products = {product(left[:end]): end for end in range(1, len(left) + 1)}
    ends = ((products.get(product(right[:end])), end) for end in range(1, len(right) + 1))
    return [(found, end) for found, end in ends if found is not None]


def _span(axes: Sequence[int], start: int, stop: int) -> range:
    return range(axes[start], axes[stop - 1] + 1)
