"""What recipes do to the places of values, against numpy and Pillow written out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from normdiag.data.preprocess import prepare
from normdiag.data.recipe import parse_recipe
from normdiag.errors import InputError, UsageError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 12, 16, 3), dtype=np.uint8)
UNIT = PIXELS.transpose(0, 3, 1, 2).astype(np.float32) / 255


def prepared(array: np.ndarray, option: str) -> np.ndarray:
    return prepare(array, parse_recipe(option), None)


@pytest.mark.parametrize("target", ["", ",layout=nhwc"])
def test_what_was_reshaped_in_place_of_transposed_is_undone(target: str) -> None:
    for right, wrong in ((UNIT, UNIT.transpose(0, 2, 3, 1)), (UNIT.transpose(0, 2, 3, 1), UNIT)):
        mixed = np.ascontiguousarray(right).reshape(wrong.shape)
        np.testing.assert_array_equal(prepared(mixed, f"raw,memory=swapped{target}"), prepared(UNIT, f"raw{target}"))


def test_grey_is_the_brightness_in_all_channels() -> None:
    found = prepared(PIXELS, "unit,order=grey")
    expected = np.stack([np.asarray(Image.fromarray(each).convert("L"), np.float32) for each in PIXELS]) / 255
    for channel in range(3):
        np.testing.assert_allclose(found[:, channel], expected, atol=1.01 / 255)


def test_fewer_pixels_and_the_centre_are_what_pillow_makes() -> None:
    coarse = np.stack([np.asarray(Image.fromarray(each).resize((8, 6), 2).resize((16, 12), 2)) for each in PIXELS])
    np.testing.assert_allclose(prepared(PIXELS, "unit,via=6"), prepared(coarse, "unit"), atol=1.6 / 255)
    boxes = [Image.fromarray(each).resize((16, 12), 2, box=(2, 1.5, 14, 10.5)) for each in PIXELS]
    inner = np.stack([np.asarray(each) for each in boxes])
    np.testing.assert_allclose(prepared(PIXELS, "unit,centre=0.75"), prepared(inner, "unit"), atol=1.01 / 255)
    assert prepared(UNIT.astype(np.float64), "raw,via=6").shape == UNIT.shape


def test_a_recipe_says_what_it_does() -> None:
    assert parse_recipe("imagenet,via=6,memory=swapped").text.endswith("order=rgb,memory=swapped,via=6")
    assert parse_recipe("per-image,order=grey,centre=0.5").text == "per-image,order=grey,centre=0.5"
    again = parse_recipe(parse_recipe("unit,centre=0.875").text)
    assert (again.centre, again.via, again.swapped) == (0.875, None, False)


@pytest.mark.parametrize("option", ["unit,via=0", "unit,via=2.5", "unit,centre=0", "unit,centre=2", "unit,memory=nchw"])
def test_what_makes_no_sense_is_refused(option: str) -> None:
    with pytest.raises(UsageError):
        parse_recipe(option)


def test_grey_needs_colours() -> None:
    with pytest.raises(InputError):
        prepared(PIXELS[..., :1], "unit,order=grey")
