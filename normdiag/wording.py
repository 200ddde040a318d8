"""Phrases that messages of every stage share."""

from __future__ import annotations

from collections.abc import Sequence


def abridged(names: Sequence[str], most: int = 3) -> str:
    """The names with commas between them; beyond `most`, how many more there are: 'a, b, c and 4 more'."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
