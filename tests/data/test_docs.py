"""The page on data holds what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from normdiag.data.feed import LABELS, MAX_BATCH_BYTES
from normdiag.data.images import SUFFIXES
from normdiag.data.noise import DEFAULT_SAMPLES
from normdiag.data.recipe import PRESETS, parse_recipe

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"^\| `([^`]*)` \| ", PAGE.partition("| `--preprocess` | does |")[2], re.MULTILINE)


@pytest.mark.parametrize("text", RECIPES)
def test_every_recipe_on_the_page_is_understood(text: str) -> None:
    assert parse_recipe(text)


def test_the_page_names_all_presets_and_figures() -> None:
    assert set(PRESETS) <= set(RECIPES)
    assert f"{DEFAULT_SAMPLES} samples unless" in PAGE
    assert f"a batch over {MAX_BATCH_BYTES >> 30} GiB" in PAGE
    assert {"y", "labels", "targets"} <= LABELS
    assert all(
        suffix[1:].replace("jpeg", "jpg").replace("pgm", "ppm").replace("pbm", "ppm") in PAGE for suffix in SUFFIXES
    )
