"""Floating-point types by their numpy names, and which of them hold which."""

from __future__ import annotations

from collections.abc import Mapping

HOLDS: Mapping[str, frozenset[str]] = {
    "float16": frozenset({"float16"}),
    "bfloat16": frozenset({"bfloat16"}),
    "float32": frozenset({"float16", "bfloat16", "float32"}),
    "float64": frozenset({"float16", "bfloat16", "float32", "float64"}),
}
FLOATS = frozenset(HOLDS)


def keeps(before: str, after: str) -> bool:
    """Whether a cast between two types changes no value."""
    return before == after or before in HOLDS.get(after, frozenset())
