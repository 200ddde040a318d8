"""Layers of which the same is to be said."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def alike(items: Iterable[T], key: Callable[[T], K]) -> Mapping[K, list[T]]:
    """The items by their key: the keys in the order in which they first came, and so the items of each."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found
