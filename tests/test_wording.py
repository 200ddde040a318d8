"""Lists that are cut short say by how much."""

from __future__ import annotations

import pytest

from normdiag.wording import abridged


@pytest.mark.parametrize(
    ("names", "most", "text"),
    [([], 3, ""), (["a"], 3, "a"), (["a", "b", "c"], 3, "a, b, c"), (["a", "b", "c"], 2, "a, b and 1 more")],
)
def test_abridged(names: list[str], most: int, text: str) -> None:
    assert abridged(names, most) == text
