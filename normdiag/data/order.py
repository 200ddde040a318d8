"""In which order samples are read, and which of them: a seeded random order, one share of several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.data.feed import Feed
from normdiag.data.options import DataOptions
from normdiag.records import Batch

# A last batch smaller than this goes with the one before: its statistics would be hardly any.
LEAST = 16


def random_order(total: int, seed: int | None) -> NDArray[np.int64]:
    """The indexes of so many samples in a random order, or as they lie without a seed."""
    return np.arange(total) if seed is None else np.random.default_rng(seed).permutation(total)


def in_order(feeds: Sequence[Feed], options: DataOptions) -> tuple[Sequence[Feed], bool]:
    """The feeds that read what the options ask for, and whether that is all there is to it.

    Where all can be indexed, samples come in a seeded random order if that is wanted, cut to `max_samples`, and each of
    several shares gets every so-manyth batch of those that one alone would read; batches know where they lie. Other
    files and random data are shared out as they are read; user code shares out its own.
    """
    if not options.shuffled and options.shard[1] == 1:
        return feeds, False
    if all(feed.rows is not None for feed in feeds):
        total = feeds[0].total or 0
        order = random_order(total, options.seed if options.shuffled else None)[: options.max_samples]
        return [_indexed(feed, order, options) for feed in feeds], True
    if options.shard[1] == 1:
        return feeds, False
    return [feed if feed.kind == "code" else _every(feed, *options.shard) for feed in feeds], False


def starts(samples: int, batch_size: int, *, no_small_last: bool = True) -> list[int]:
    """Where each batch begins, and the end."""
    found = list(range(0, samples, batch_size))
    if no_small_last and len(found) > 1 and samples - found[-1] < min(LEAST, batch_size):
        del found[-1]
    return [*found, samples]


def _indexed(feed: Feed, order: NDArray[np.int64], options: DataOptions) -> Feed:
    index, count = options.shard

    def read(batch_size: int) -> Iterator[Batch]:
        assert feed.rows is not None
        bounds = starts(len(order), batch_size, no_small_last=options.no_small_last)
        for start, end in list(pairwise(bounds))[index::count]:
            places = order[start:end]
            yield replace(feed.rows(places), first=start, places=places)

    return replace(feed, read=read)


def _every(feed: Feed, index: int, count: int) -> Feed:
    def read(batch_size: int) -> Iterator[Batch]:
        return islice(feed.read(batch_size), index, None, count)

    return replace(feed, read=read)


def take(array: NDArray[Any], indexes: NDArray[np.int64]) -> NDArray[Any]:
    """Some rows, read in the order in which they lie: a mapped file is gone through once."""
    sorted_places = np.argsort(indexes, kind="stable")
    found = np.ascontiguousarray(array[indexes[sorted_places]])
    result = np.empty_like(found)
    result[sorted_places] = found
    return result
