"""Values in the dtype that they are stored in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.errors import InputError


def rounded(values: NDArray[Any], dtype: np.dtype[Any], label: str) -> NDArray[Any]:
    """Values rounded once to a floating dtype. Raises InputError, beginning with `label`, where one overflows."""
    with np.errstate(over="ignore"):
        stored: NDArray[Any] = np.ascontiguousarray(values).astype(dtype)
    if not np.isfinite(stored.astype(np.float64)).all():
        raise InputError(f"{label}: {float(np.max(np.abs(values))):.4g} does not fit into {dtype.name}")
    return stored
