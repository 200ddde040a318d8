"""Arithmetic with dimensions of which some are free (see records.Size)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from normdiag.records import Size


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
