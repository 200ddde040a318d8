"""What the data tests share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.data import DataOptions
from normdiag.data.source import open_data
from normdiag.records import Batch, InputSpec


def whole(batches: Iterable[Batch], index: int = 0) -> NDArray[Any]:
    """One input of all batches, put together."""
    return np.concatenate([batch.arrays[index] for batch in batches])


def read(spec: object, inputs: tuple[InputSpec, ...] = (), **options: Any) -> NDArray[Any]:
    """The sole input that `--data spec` gives."""
    return whole(open_data([str(spec)], DataOptions(**options), inputs))


def floats(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def pixels(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
