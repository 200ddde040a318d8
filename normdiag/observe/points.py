"""The sums of a model's points: of plain arrays, which its inputs and outputs are, and of tables from a backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.observe.gap import is_floating
from normdiag.observe.sums import sample_means
from normdiag.records import Batch, Point, PointRole, PointSums, Span

Array = NDArray[Any]
# Images and sounds have no more channels than this.
COLOURS = 4


def input_points(batch: Batch) -> dict[Point, PointSums]:
    """The inputs of a model, by name or 'input'."""
    names = batch.names or [f"input_{i}" if i else "input" for i in range(len(batch.arrays))]
    return array_points("input", dict(zip(names, batch.arrays, strict=True)), batch.span)


def array_points(role: PointRole, arrays: Mapping[str, Array], span: Span) -> dict[Point, PointSums]:
    """Those of the arrays that hold values: floating ones, and integers in the shape of images, not ids."""
    return {
        Point(role, name): array_sums(array, span)
        for name, array in arrays.items()
        if array.size and (is_floating(array) or (array.dtype.kind in "iu" and array.ndim > 2))
    }


def array_sums(array: Array, span: Span) -> PointSums:
    """Sums of an array (N, ...) about its own mean, its channels on `feature_axis`."""
    x = array.reshape(-1, 1) if array.ndim < 2 else np.moveaxis(array, feature_axis(array.shape), 1)
    flat = x.reshape(*x.shape[:2], -1)
    total = flat.sum(2, dtype=np.float64)
    square = np.stack([np.einsum("cp,cp->c", each, each) for each in (row.astype(np.float64) for row in flat)])
    return table_sums(total, square, flat.shape[2], np.zeros(flat.shape[1]), span)


def feature_axis(shape: tuple[int, ...]) -> int:
    """Where the channels of an input or output lie: last in (N, T, C) and in images (N, H, W, C), else second."""
    last = shape[1] > COLOURS and (len(shape) == 3 or (len(shape) == 4 and shape[3] <= COLOURS))
    return len(shape) - 1 if last else 1


def table_sums(total: Array, square: Array, positions: int, shift: Array, span: Span) -> PointSums:
    """Sums about the batch's own mean, from per-sample sums (N, C) of (x - shift) and (x - shift)^2, shift (C,).

    Whatever each batch's mean is, sums of several are brought to that of the first.
    """
    with np.errstate(all="ignore"):
        mean = np.asarray(total, np.float64).mean(0) / positions
        mean = np.where(np.isfinite(mean), mean, 0.0)
        return PointSums.of(*sample_means(total, square, positions, mean), mean + shift, span)
