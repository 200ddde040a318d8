"""In which order samples are read, and which of them: a seeded random order, one share of several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.data.feed import Feed
from normdiag.data.options import DataOptions
from normdiag.records import Batch


def in_order(feeds: Sequence[Feed], options: DataOptions) -> tuple[Sequence[Feed], bool]:
    """The feeds that read what the options ask for, and whether they are cut to `max_samples` already.

    Where all can be indexed, samples come in a seeded random order if that is wanted, and each of several shares gets
    every so-manyth one. Other files and random data are shared out batch by batch; user code shares out its own.
    """
    if not options.shuffled and options.shard[1] == 1:
        return feeds, False
    if all(feed.rows is not None for feed in feeds):
        order = _order(feeds[0].total or 0, options)
        return [_indexed(feed, order) for feed in feeds], True
    if options.shard[1] == 1:
        return feeds, False
    return [feed if feed.kind == "code" else _every(feed, *options.shard) for feed in feeds], False


def _order(total: int, options: DataOptions) -> NDArray[np.int64]:
    order = np.random.default_rng(options.seed).permutation(total) if options.shuffled else np.arange(total)
    index, count = options.shard
    return np.asarray(order[: options.max_samples][index::count], np.int64)


def _indexed(feed: Feed, order: NDArray[np.int64]) -> Feed:
    def read(batch_size: int) -> Iterator[Batch]:
        assert feed.rows is not None
        for start in range(0, len(order), batch_size):
            yield feed.rows(order[start : start + batch_size])

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
