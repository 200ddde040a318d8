"""The groups that a norm normalizes, as rows of a matrix, from its input as an array: the same for both backends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from normdiag.records import NormKind
from normdiag.records.model import Array
from normdiag.records.precision import NormRows


def norm_rows(
    x: Array,
    kind: NormKind,
    eps: float | None,
    *,
    samples: int,
    axes: Sequence[int] = (),
    channel_axis: int = 1,
    groups: int | None = None,
) -> NormRows:
    """The rows of an input of that many samples.

    `axes` are those that one mean is taken over; without any, a group spans C / `groups` channels (None: one) and all
    positions. Rows of a tensor (N, T, C), or (T, N, C), know their token.
    """
    if not axes:
        moved = np.moveaxis(x, channel_axis, 1)
        count = groups or moved.shape[1]
        return NormRows(kind, moved.reshape(len(moved) * count, -1), eps or 0.0)
    inner = sorted(axis % x.ndim for axis in axes)
    outer = [axis for axis in range(x.ndim) if axis not in inner]
    size = int(np.prod([x.shape[axis] for axis in inner]))
    rows = x.transpose(*outer, *inner).reshape(-1, size)
    place = _tokens([x.shape[axis] for axis in outer], samples) if x.ndim == 3 else None
    return NormRows(kind, rows, eps or 0.0, place)


def _tokens(sizes: Sequence[int], samples: int) -> Array | None:
    """The token of each row, where one of the two outer axes is that of the samples."""
    if len(sizes) != 2 or samples not in sizes:
        return None
    tokens = 1 if sizes[0] == samples else 0
    return np.asarray(np.indices(tuple(sizes))[tokens].ravel())
