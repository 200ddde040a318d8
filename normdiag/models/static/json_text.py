"""JSON out of a model file, where nothing can be taken for granted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from normdiag.models.static.inert import MalformedError

_MAX_BYTES = 512 << 20


def parse_json(data: bytes | memoryview, what: str) -> dict[str, Any]:
    """The JSON object in `data`, UTF-8. Raises MalformedError for anything else, and for keys that occur twice."""
    if len(data) > _MAX_BYTES:
        raise MalformedError(f"{what} has {len(data)} bytes")
    try:
        found = json.loads(bytes(data).decode("utf-8"), object_pairs_hook=_unique)
    # Nesting too deep for the parser is a RecursionError; numbers of thousands of digits are a ValueError.
    except (ValueError, RecursionError, OverflowError):
        raise MalformedError(f"{what} is not proper JSON") from None
    if not isinstance(found, dict):
        raise MalformedError(f"{what} is not a JSON object")
    return found


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key occurs twice")
    return made
