"""Phrases that messages of every stage share."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence


def abridged(names: Sequence[str], most: int = 3) -> str:
    """The names with commas between them; beyond `most`, how many more there are: 'a, b, c and 4 more'."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def shell_path(path: str) -> str:
    """A path as an argument of a command to be copied into a shell, whatever is in it; never taken for an option."""
    return shlex.quote(f"./{path}" if path.startswith("-") else path)


def nearest(word: str, known: Iterable[str]) -> str:
    """What a misspelt word probably meant, to be put after a message: "; did you mean 'select'?", or nothing."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), 1)
    return f"; did you mean {found[0]!r}?" if found else ""
