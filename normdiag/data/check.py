"""Whether a batch can be run: numbers, finite, as many samples in every array, of the shape that the model declares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.data.feed import check_facts
from normdiag.errors import InputError
from normdiag.records import Batch, InputSpec, is_ragged

Array = NDArray[Any]


def checked(
    batches: Iterable[Batch],
    source: str,
    max_samples: int | None = None,
    *,
    may_be_empty: bool = False,
    numbered: bool = False,
) -> Iterator[Batch]:
    """Yield the batches, each checked, up to `max_samples` samples. Raises InputError if there are none.

    Each gets the index of its first sample, but for those that are `numbered` already.
    """
    start = 0
    for batch in batches:
        left = batch.size if max_samples is None else max_samples - start
        kept = batch if left >= batch.size else batch.rows(slice(left))
        check_batch(kept, source, start)
        yield kept if numbered else replace(kept, first=start)
        start += kept.size
        if start == max_samples:
            return
    if not start and not may_be_empty:
        raise InputError(f"{source} gave no batches")


def check_batch(batch: Batch, source: str, start: int = 0) -> None:
    """Raise InputError, naming the source and the sample, for a batch that cannot be run.

    `start` is the index of its first sample. Refused: no or unequal numbers of samples, a dtype that is not
    boolean, integer or floating, NaN and infinity.
    """
    for array in batch.arrays:
        if not is_ragged(array):
            check_facts(f"{source}: the batch that begins at sample {start}", array.shape, array.dtype)
    sizes = {array.shape[0] for array in batch.arrays}
    if len(sizes) > 1:
        raise InputError(f"{source}: the inputs of a batch differ in their number of samples: {sorted(sizes)}")
    for array in batch.arrays:
        check_finite(array, source, np.arange(start, start + len(array)) if batch.places is None else batch.places)


def check_finite(array: Array, source: str, places: Array) -> None:
    """Raise InputError naming the place (N,) of the first sample that is not finite; without one, nothing is copied."""
    if is_ragged(array):
        for sample, place in zip(array, places, strict=True):
            check_finite(sample[None], source, np.array([place]))
    if array.dtype.kind != "f" or (np.isfinite(array.min()) and np.isfinite(array.max())):
        return
    bad = ~np.isfinite(array).reshape(len(array), -1).all(1)
    index = int(bad.argmax())
    kind = "NaN" if np.isnan(array[index]).any() else "infinity"
    count = int(bad.sum())
    more = f" ({count} samples of its batch are not finite)" if count > 1 else ""
    raise InputError(f"{source}: sample {places[index]} holds {kind}{more}")


def check_shape(array: Array, spec: InputSpec, source: str) -> None:
    """Raise InputError where a batch does not fit the shape that the model declares, the sample axis left out."""
    if spec.shape is None:
        return
    fits = len(spec.shape) == array.ndim and all(
        want is None or want == have for want, have in zip(spec.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        wanted = ", ".join("?" if n is None else str(n) for n in ("N", *spec.shape[1:]))
        have = ", ".join(str(n) for n in ("N", *array.shape[1:]))
        hint = "; for images, use --resize, --crop or layout= in --preprocess" if array.ndim == 4 else ""
        raise InputError(f"{source}: input {spec.name!r} takes ({wanted}), the data gives ({have}){hint}")
