"""An einsum as a product with a constant matrix: which axes of data, matrix and result hold the channels."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

from normdiag.records import Size

DOTS = "..."
NO_MATRIX = "an einsum that is no product with one constant matrix"
TWO_TENSORS = "an einsum of several activations"


@dataclass(frozen=True)
class EinsumAxes:
    """As the fields of Linear: negative axes of the matrix, of the result and of the data."""

    out_axis: int
    in_axis: int
    channel_axis: int
    data_axis: int


def einsum_axes(equation: str, matrix: int, data: Sequence[Size], shape: tuple[int, ...]) -> EinsumAxes | None:
    """Of two operands, the one at place `matrix` (0 or 1) being a constant of this shape, the other having these sizes.

    Such an einsum sums over one axis that both have, and puts another in its place; all other axes are those of the
    data, in any order. None where it does anything else.
    """
    parsed = _operands(equation, (len(shape), len(data)) if matrix == 0 else (len(data), len(shape)))
    if parsed is None or len(shape) != 2:
        return None
    (left, right), result = parsed
    pair, read = (left, right) if matrix == 0 else (right, left)
    summed, made = (set(pair) & set(read) - set(result)), (set(pair) & set(result) - set(read))
    if len(summed) != 1 or len(made) != 1 or set(read) - summed | made != set(result):
        return None
    (old,), (new,) = summed, made
    if data[read.index(old)].known != shape[pair.index(old)]:
        return None  # an axis of size 1 is repeated
    places = (pair.index(new) - 2, pair.index(old) - 2, result.index(new) - len(result), read.index(old) - len(read))
    return EinsumAxes(*places)


def _operands(equation: str, ranks: tuple[int, int]) -> tuple[list[str], str] | None:
    """The axes of both operands and of the result, a letter each; None where one stands twice in one of them."""
    terms, arrow, result = equation.replace(" ", "").partition("->")
    operands = terms.split(",")
    if len(operands) != 2:
        return None
    spare = list(map(chr, range(0x3B1, 0x3B1 + max(ranks))))
    counts = [rank - len(term.replace(DOTS, "")) for term, rank in zip(operands, ranks, strict=True)]
    if any(count < 0 or (count and DOTS not in term) for term, count in zip(operands, counts, strict=True)):
        return None
    most = max((count for term, count in zip(operands, counts, strict=True) if DOTS in term), default=0)
    wide = [
        term.replace(DOTS, "".join(spare[most - count : most])) for term, count in zip(operands, counts, strict=True)
    ]
    if not arrow:
        once = sorted(each for each in set(terms) & set(string.ascii_letters) if terms.count(each) == 1)
        result = DOTS + "".join(once)
    result = result.replace(DOTS, "".join(spare[:most]))
    distinct = all(len(set(term)) == len(term) for term in (*wide, result))
    return (wide, result) if distinct else None
