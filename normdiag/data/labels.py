"""Labels that lie beside the data: one whole number for each sample, the index of its class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.data.feed import LABELS, ArrayFacts


def are_labels(name: str, shape: Sequence[int], dtype: np.dtype[Any], data: Sequence[ArrayFacts]) -> bool:
    """Whether a stored array is called as labels are and holds one whole number for each sample of the data."""
    numbers = dtype.kind in "iu" and tuple(shape[1:]) in ((), (1,))
    return name.lower() in LABELS and numbers and bool(data) and shape[0] == data[0].shape[0]


def class_numbers(array: NDArray[Any], samples: int | None = None) -> NDArray[np.int64] | None:
    """An integer array (N,) or (N, 1) as int64 (N,); None for any other, and where N is not `samples`."""
    if array.dtype.kind not in "iu" or array.shape[1:] not in ((), (1,)) or samples not in (None, len(array)):
        return None
    return array.reshape(-1).astype(np.int64)
