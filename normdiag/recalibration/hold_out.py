"""Which samples measure the statistics, and which only judge them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from normdiag.records import Batch

# Held-out samples stay in memory until the end: no more than this many, and bytes.
MOST = 1024
MOST_BYTES = 256 << 20
# Statistics of fewer samples are too noisy to normalize what comes after with: small batches are joined.
LEAST = 16


class HoldOut:
    """Takes a share of the samples out of a stream of batches, evenly spread over the data, and keeps them.

    Sample i is held out where floor((i + 1) share) is above floor(i share): every fifth one for 0.2, the same ones each
    time that the data is read.
    """

    def __init__(self, share: float) -> None:
        """Nothing kept yet."""
        self.share = share
        self._bytes = 0
        self.kept: list[Batch] = []

    @property
    def samples(self) -> int:
        """How many are kept."""
        return sum(batch.size for batch in self.kept)

    def take(self, batch: Batch, *, whole: bool = False) -> Batch | None:
        """The samples that are left to measure, None where there are none; `whole` batches stay together."""
        index = np.array([batch.first // batch.size]) if whole else batch.first + np.arange(batch.size)
        held = np.floor((index + 1) * self.share + 1e-9) > np.floor(index * self.share + 1e-9)
        if not held.any() or self.samples >= MOST or self._bytes >= MOST_BYTES:
            return batch
        kept = batch if whole else batch.rows(held)
        self._bytes += sum(array.nbytes for array in kept.arrays)
        self.kept.append(kept)
        return None if whole or held.all() else batch.rows(~held)


def joined(batches: Iterable[Batch], least: int = LEAST) -> Iterator[Batch]:
    """The same samples in the same order, in batches of at least `least` where their shapes allow it.

    A small one goes together with those after it, the last one with those before.
    """
    ready: Batch | None = None
    for batch in batches:
        if ready is None:
            ready = batch
        elif (ready.size < least or batch.size < least) and _alike(ready, batch):
            ready = _concatenated(ready, batch)
        else:
            yield ready
            ready = batch
    if ready is not None:
        yield ready


def _alike(one: Batch, two: Batch) -> bool:
    shapes = ([(array.shape[1:], array.dtype) for array in batch.arrays] for batch in (one, two))
    return one.names == two.names and next(shapes) == next(shapes) and (one.labels is None) == (two.labels is None)


def _concatenated(one: Batch, two: Batch) -> Batch:
    arrays = tuple(np.concatenate(pair) for pair in zip(one.arrays, two.arrays, strict=True))
    labels = None if one.labels is None or two.labels is None else np.concatenate([one.labels, two.labels])
    return Batch(arrays, one.names, labels, one.first)
