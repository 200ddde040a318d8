"""Data from the user's own Python: `pkg.module:callable` or `file.py:callable`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from normdiag.data.feed import Feed
from normdiag.data.items import ONE, is_array, iterate
from normdiag.errors import InputError
from normdiag.records import Batch, BatchForm
from normdiag.usercode import load_object, user_code


def code_feed(
    target: str, inputs: Sequence[str] = (), bound: str | None = None, seed: int | None = None, form: BatchForm = ONE
) -> Feed:
    """A feed of what a function returns, a generator function yields, or an iterable object gives.

    The function takes no arguments and is called each time the data is read; an iterable is iterated again.
    The batches keep their own sizes; only a whole data set (arrays, or single samples by index) is cut into some, in a
    random order if there is a `seed`.
    Raises InputError where the code cannot be imported or is no such thing; what the code raises later becomes one too.
    """
    found = load_object(target, "--data")
    if isinstance(found, Iterator):
        raise InputError(f"--data {target} is an iterator that can be read once only: give the function that makes it")
    if not callable(found) and not _is_data(found):
        raise InputError(f"--data {target} is a {type(found).__name__}, neither a function nor an iterable of batches")

    def read(batch_size: int) -> Iterator[Batch]:
        with user_code(target, "failed"):
            batches = found if _is_data(found) else found()
            names = (bound,) if bound else inputs
            for batch in iterate(batches, batch_size=batch_size, inputs=names, source=target, seed=seed, form=form):
                yield replace(batch, names=(bound,)) if bound and len(batch.arrays) == 1 else batch

    return Feed(target, "code", read)


def _is_data(found: Any) -> bool:
    if isinstance(found, type):
        return False
    return isinstance(found, Mapping) or is_array(found) or hasattr(found, "__iter__") or hasattr(found, "__getitem__")
