"""A feed: what one `--data` argument gives, before it is preprocessed and checked."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from normdiag.errors import InputError
from normdiag.records import Batch

# The names under which labels lie beside the data in the usual files and batches.
LABELS = frozenset({"y", "label", "labels", "target", "targets"})

# More than this in one batch is a mistake or an attack; nothing is allocated for it.
MAX_BATCH_BYTES = 4 << 30


@dataclass(frozen=True)
class ArrayFacts:
    """What is known of an array before it is read: its shape with the samples first, its dtype, its input name."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    name: str | None = None


@dataclass(frozen=True)
class Feed:
    """Arrays that can be read from the start as often as wanted.

    `read(batch_size)` starts anew and yields batches as they are stored. `facts` has one entry for each array, or is
    None for user code, whose batches are whatever it yields and are not converted unless the user asks for it. `rows`
    reads the samples of any indexes, in any order; None where that would mean to read everything. `notes` are for the
    reader of the report.
    """

    source: str
    kind: Literal["arrays", "images", "audio", "code", "random"]
    read: Callable[[int], Iterator[Batch]]
    facts: tuple[ArrayFacts, ...] | None = None
    rows: Callable[[NDArray[np.int64]], Batch] | None = None
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int | None:
        """Number of samples, if known."""
        return self.facts[0].shape[0] if self.facts else None


def check_facts(label: str, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    """Raise InputError for an array that cannot be data: empty, without a sample axis, not numeric."""
    if dtype.kind == "O":
        raise InputError(f"{label} holds pickled Python objects, which are never unpickled: save a numeric array")
    if dtype.kind not in "biuf" and dtype.name != "bfloat16":
        raise InputError(f"{label} has dtype {dtype}: numbers or booleans are needed")
    if not shape:
        raise InputError(f"{label} is a single number: the first axis must be the samples")
    if min(shape) == 0:
        raise InputError(f"{label} is empty: its shape is {tuple(shape)}")


def check_batch_bytes(label: str, shape: Sequence[int], dtype: np.dtype[Any], batch_size: int) -> None:
    """Raise InputError where one batch of such an array would not fit MAX_BATCH_BYTES."""
    size = min(batch_size, shape[0]) * _product(shape[1:]) * dtype.itemsize
    if size > MAX_BATCH_BYTES:
        remedy = "lower --batch-size or the sizes" if batch_size > 1 else "lower the sizes"
        raise InputError(f"{label}: a batch would take {size / 2**30:.1f} GiB of memory; {remedy}")


def count_bytes(shape: Sequence[int], dtype: np.dtype[Any]) -> int:
    """Size of an array in bytes, in exact integers."""
    return _product(shape) * dtype.itemsize


@contextmanager
def reading(label: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn what a damaged file makes its reader raise (`errors`, OSError, EOFError, ValueError) into an InputError."""
    expected: tuple[type[Exception], ...] = (OSError, EOFError, ValueError, *errors)
    try:
        yield
    except expected as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{label} cannot be read: {reason}") from error


def release_pages(array: Any) -> None:
    """Drop the pages of the mapped file after an array, which else count as this process's memory once they are read.

    They come back from the file if they are touched again. Without a map, or where the system has no madvise, a no-op.
    """
    while array is not None and not isinstance(array, mmap.mmap):
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    if array is not None and hasattr(array, "madvise"):
        array.madvise(mmap.MADV_DONTNEED)


def _product(numbers: Sequence[int]) -> int:
    result = 1
    for number in numbers:
        result *= int(number)
    return result
