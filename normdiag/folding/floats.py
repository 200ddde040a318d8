"""The floating types that weights are stored in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Limits:
    """`largest`, and the smallest normal and subnormal number; `eps` is the step from 1 to the next one up."""

    largest: float
    smallest_normal: float
    smallest: float
    eps: float


def as_dtype(name: str) -> np.dtype[Any]:
    """The dtype of this name; ml_dtypes is imported only for what numpy does not have."""
    if name == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    dtype: np.dtype[Any] = np.dtype(name)
    return dtype


@cache
def limits(name: str) -> Limits:
    """Range and precision of a floating type."""
    if name == "bfloat16":
        import ml_dtypes

        finfo: Any = ml_dtypes.finfo
        info = finfo(as_dtype(name))
    else:
        info = np.finfo(as_dtype(name))
    return Limits(*(float(value) for value in (info.max, info.smallest_normal, info.smallest_subnormal, info.eps)))
