"""Single samples, on which the folded points and the original in float64 are looked at: that keeps memory flat."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from normdiag.folding.bound import ROUNDOFF
from normdiag.folding.compare import is_floating
from normdiag.records import Batch, InputSpec
from normdiag.records.model import Array

# A maximum over fewer values than this can be small by luck.
ENOUGH = 8


def batch_size(batch: Batch) -> int:
    """The size of the first axis of the first array; 1 for a scalar."""
    return batch.size if batch.arrays and batch.arrays[0].ndim else 1


def singles(batch: Batch, inputs: Sequence[InputSpec]) -> Iterator[Batch]:
    """The samples of a batch one by one where the model takes any number of them; else the batch."""
    sizes = {array.shape[0] if array.ndim else 0 for array in batch.arrays}
    free = bool(inputs) and all(spec.shape is not None and spec.shape[:1] == (None,) for spec in inputs)
    if not free or len(sizes) != 1:
        yield batch
        return
    for index in range(sizes.pop()):
        yield batch.rows(slice(index, index + 1))


def needed(values: Mapping[str, Array]) -> int:
    """How many samples give every floating tensor at least `ENOUGH` values, up to that number."""
    sizes = [array.size for array in values.values() if is_floating(array) and array.size]
    return min(ENOUGH, math.ceil(ENOUGH / min(sizes))) if sizes else 1


def nudged(batch: Batch, roundoff: float, seed: int = 0) -> Batch | None:
    """The batch with each floating value moved by about its last bit, up or down at random; None if it has none.

    A run on it rounds anew everywhere: Monte Carlo arithmetic (Parker 1997) at the input alone.
    """
    if not any(is_floating(array) for array in batch.arrays):
        return None
    rng = np.random.default_rng(seed)
    return replace(batch, arrays=tuple(_moved(array, roundoff, rng) for array in batch.arrays))


def _moved(array: Array, roundoff: float, rng: np.random.Generator) -> Array:
    if not is_floating(array):
        return array
    step = 2 * max(roundoff, ROUNDOFF.get(array.dtype.name, roundoff))
    signs = rng.integers(0, 2, array.shape, dtype=np.int8) * 2.0 - 1.0
    moved: Array = (array * (1 + step * signs)).astype(array.dtype)
    return moved
