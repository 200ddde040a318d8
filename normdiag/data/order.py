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
        order = np.random.default_rng(options.seed).permutation(total) if options.shuffled else np.arange(total)
        return [_indexed(feed, order[: options.max_samples], *options.shard) for feed in feeds], True
    if options.shard[1] == 1:
        return feeds, False
    return [feed if feed.kind == "code" else _every(feed, *options.shard) for feed in feeds], False


def starts(samples: int, batch_size: int) -> list[int]:
    """Where each batch begins, and the end."""
    found = list(range(0, samples, batch_size))
    if len(found) > 1 and samples - found[-1] < min(LEAST, batch_size):
        del found[-1]
    return [*found, samples]


def _indexed(feed: Feed, order: NDArray[np.int64], index: int, count: int) -> Feed:
    def read(batch_size: int) -> Iterator[Batch]:
        assert feed.rows is not None
        places = starts(len(order), batch_size)
        for start, end in list(pairwise(places))[index::count]:
            yield replace(feed.rows(order[start:end]), first=start)

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
