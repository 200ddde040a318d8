"""Lists that are cut short say by how much."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.wording import abridged, shell_path


@pytest.mark.parametrize(
    ("names", "most", "text"),
    [([], 3, ""), (["a"], 3, "a"), (["a", "b", "c"], 3, "a, b, c"), (["a", "b", "c"], 2, "a, b and 1 more")],
)
def test_abridged(names: list[str], most: int, text: str) -> None:
    assert abridged(names, most) == text


@given(st.text(min_size=1, max_size=20))
def test_a_path_is_one_argument_and_no_option(path: str) -> None:
    (argument,) = shlex.split(shell_path(path))
    assert argument.removeprefix("./") == path.removeprefix("./") and not argument.startswith("-")
