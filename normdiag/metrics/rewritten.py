"""Whether weights are as training leaves them, or were rewritten since: pruned, rounded, put on a grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of a tensor, so many values are looked at.
_MOST = 2**16


def rewritten(weight: NDArray[Any]) -> float:
    """Share of the weights (outputs, ...) that are exactly 0 or repeat another one, 0 to 1.

    Training in float32 leaves hardly any. What half precision holds repeats by itself, as does what belongs to an
    output that is 0 throughout, or to a place that is 0 in all outputs (a mask): these say nothing.
    """
    rows = np.asarray(weight).astype(np.float32, copy=False).reshape(len(weight), -1)
    rows = rows[np.any(rows != 0, axis=1)]
    values = rows[:, np.any(rows != 0, axis=0)].reshape(-1)[:_MOST]
    if not values.size:
        return 0.0
    zero = float(np.mean(values == 0))
    others = values[values != 0]
    if _in_half_precision(others):
        return zero
    return zero + (1.0 - zero) * (1.0 - len(np.unique(others)) / max(len(others), 1))


def _in_half_precision(values: NDArray[np.float32]) -> bool:
    """Whether float16 or bfloat16 holds all of these exactly."""
    with np.errstate(over="ignore"):
        half = np.array_equal(values.astype(np.float16).astype(np.float32), values)
    return half or not np.any(np.ascontiguousarray(values).view(np.uint32) & 0xFFFF)
