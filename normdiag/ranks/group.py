"""What a process can ask of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from normdiag.errors import InputError, one_line

T = TypeVar("T")
K = TypeVar("K")


class Ranks(Protocol):
    """The processes that work together. Every one must come to the same calls in the same order."""

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def combined(self, value: T, add: Callable[[T, T], T]) -> T:
        """What `add` makes of the values of all processes, in the order of their numbers: the same object for each.

        Raises InputError where one of them has ended.
        """
        ...


@dataclass(frozen=True)
class Alone:
    """One process."""

    rank: int = 0
    size: int = 1

    def combined(self, value: T, _add: Callable[[T, T], T]) -> T:
        """The value."""
        return value


ALONE = Alone()


def together(ranks: Ranks, work: Callable[[], T], add: Callable[[T, T], T]) -> T:
    """Do one's share of the work and add up all of it. Where it fails in one process, it fails with that in all.

    Raises InputError with the message of the first process that failed.
    """
    if ranks.size == 1:
        return work()
    combined = ranks.combined(_attempt(ranks, work), partial(_both, add))
    if combined.failure is not None:
        raise InputError(combined.failure)
    result: T = combined.value
    return result


def merged(one: Mapping[K, Any], two: Mapping[K, Any]) -> dict[K, Any]:
    """Sums by name, added up where both have one."""
    return {**one, **{name: one[name] + each if name in one else each for name, each in two.items()}}


@dataclass(frozen=True, eq=False)
class _Attempt:
    """What came of the work of some processes: a value, or the message of the first that failed."""

    value: Any = None
    failure: str | None = None


def _attempt(ranks: Ranks, work: Callable[[], Any]) -> _Attempt:
    try:
        return _Attempt(work())
    except Exception as error:
        return _Attempt(failure=f"process {ranks.rank} of {ranks.size}: {one_line(error)}")


def _both(add: Callable[[Any, Any], Any], one: _Attempt, two: _Attempt) -> _Attempt:
    failed = next((each for each in (one, two) if each.failure is not None), None)
    return failed or _Attempt(add(one.value, two.value))
