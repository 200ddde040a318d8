"""A batch of input data and what a model says of its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from normdiag.records.channel_sums import Span

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch: arrays that share their first axis, the samples.

    An array of objects (N,) holds one array for each sample, of sizes of their own, as detectors take their images;
    with a `sample_key` the model takes each in a dict under that key.
    `names` holds one input name for each array; None feeds them by position. `fixed` are inputs without samples, by
    name: numbers, and arrays that hold for the whole batch. `labels` (N,) are the classes of the
    samples as integers, where the data has them. `first` is the index that its first sample has in the data, `index`
    that of the batch. `places` (N,) are the indexes of the samples in their source, where the order is another.
    """

    arrays: tuple[Array, ...]
    names: tuple[str, ...] | None = None
    labels: Array | None = None
    first: int = 0
    index: int = 0
    places: Array | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    sample_key: str | None = None

    @property
    def size(self) -> int:
        """Number of samples."""
        return int(self.arrays[0].shape[0])

    @property
    def span(self) -> Span:
        """Where it lies in the data."""
        return Span(self.first, self.size)

    @property
    def together(self) -> Span:
        """The same where its samples are normalized together."""
        return Span(self.first, self.size, self.index)

    @property
    def whole(self) -> Span:
        """The same where the batch counts as one sample, since its samples share the chance of its statistics."""
        return Span(self.index, 1)

    def rows(self, chosen: slice | Array) -> Batch:
        """Some of its samples: a slice, or an array of indexes or of booleans (N,)."""
        labels, places = (None if each is None else each[chosen] for each in (self.labels, self.places))
        return replace(self, arrays=tuple(array[chosen] for array in self.arrays), labels=labels, places=places)


def is_ragged(array: Array) -> bool:
    """Whether an array of a batch holds an array of its own for each sample."""
    return array.dtype.kind == "O"


@dataclass(frozen=True)
class BatchForm:
    """What a model takes of a batch that is a tuple: its first `count` arrays, called `names`, or a list of samples.

    `others` are names under which a dict may hold what has no samples on its first axis.
    """

    count: int = 1
    names: tuple[str, ...] = ()
    lists: bool = False
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class InputSpec:
    """An input as the model file declares it; a dimension that is free or unknown is None.

    `below` is what its numbers stay below, as tokens do below the size of the vocabulary; None where that is not known.
    `keyword`: it is handed over by its name, since the forward takes others before it.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    below: int | None = None
    keyword: bool = False
