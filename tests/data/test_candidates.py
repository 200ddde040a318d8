"""Preparations that a model may have been trained with, against the same arithmetic written out."""

from __future__ import annotations

import numpy as np
import pytest

from normdiag.data.candidates import candidates
from normdiag.data.preprocess import prepare
from normdiag.data.recipe import PRESETS, parse_recipe

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
UNIT = PIXELS.transpose(0, 3, 1, 2).astype(np.float32) / 255
MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
CAFFE = np.array([103.939, 116.779, 123.68], np.float32)[:, None, None]
# As data sets may hold images: as they are, and prepared by every preset that can be undone, in either order.
PREPARED = [name for name, recipe in PRESETS.items() if len(recipe.mean) == 3 or name == "signed"]
STORED = {
    "8-bit": PIXELS,
    "0..255": UNIT * 255,
    "0..1": UNIT,
    "BGR": np.ascontiguousarray(PIXELS[..., ::-1]),
    **{name: prepare(PIXELS, PRESETS[name], None) for name in PREPARED},
    **{f"{name} in BGR": prepare(PIXELS, parse_recipe(f"{name},order=bgr"), None) for name in ("imagenet", "signed")},
    "caffe in RGB": prepare(PIXELS, parse_recipe("caffe,order=rgb"), None),
}
# What each meaning ends in, and what it must make of the images whatever they are stored as.
WANTED = {
    "mean and deviation of imagenet": (UNIT - MEAN) / STD,
    "mean and deviation of imagenet, colours as BGR": ((UNIT - MEAN) / STD)[:, ::-1],
    "inverted, mean and deviation of imagenet": (1 - UNIT - MEAN) / STD,
    "-1..1": 2 * UNIT - 1,
    "BGR of 0..255 less its mean (caffe)": UNIT[:, ::-1] * 255 - CAFFE,
}
# Of images in the order that is not usual only what puts it right is a candidate.
TURNED = ("mean and deviation of imagenet", "-1..1", "BGR of 0..255 less its mean (caffe)")


def made(stored: str) -> list[np.ndarray]:
    array = STORED[stored]
    pixels = array.dtype == np.uint8
    head = array.transpose(0, 3, 1, 2) if pixels else array
    found = candidates(head.astype(np.float32), pixels=pixels)
    return [prepare(array, parse_recipe(each.option), None) for each in found]


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [(stored, wanted) for stored in STORED for wanted in (TURNED if " in " in stored or stored == "BGR" else WANTED)],
)
def test_every_preparation_is_reached_from_every_form_of_storage(stored: str, wanted: str) -> None:
    errors = [float(np.abs(each - WANTED[wanted]).max()) for each in made(stored)]
    assert min(errors) < 2e-3  # of values up to 255, by way of float32 and six digits in the option


@pytest.mark.parametrize("stored", STORED)
def test_no_two_candidates_do_the_same(stored: str) -> None:
    results = made(stored)
    for index, one in enumerate(results):
        assert all(float(np.abs(one - other).max()) > 1e-4 for other in results[:index])


def test_one_channel_gets_what_is_for_one_channel() -> None:
    options = [each.option for each in candidates(UNIT[:, :1] * 255, pixels=True)]
    assert "mnist" in options and "unit" in options
    assert not any(option.startswith(("imagenet", "cifar", "clip", "caffe")) or "bgr" in option for option in options)


@pytest.mark.parametrize(("shape", "options"), [((4, 20), {"raw"}), ((4, 1, 20), {"raw", "per-image"})])
def test_anything_but_images_is_left_alone_or_normalized_by_itself(shape: tuple[int, ...], options: set[str]) -> None:
    assert {each.option for each in candidates(np.zeros(shape, np.float32), pixels=False)} == options


def test_each_image_by_itself() -> None:
    made = prepare(PIXELS, parse_recipe("per-image"), None)
    np.testing.assert_allclose(made.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(made.std((1, 2, 3)), 1, atol=1e-5)
    flat = prepare(np.full((2, 4, 4, 3), 7, np.uint8), parse_recipe("per-image"), None)
    assert np.all(flat == 0)
    turned = prepare(PIXELS, parse_recipe("per-image,order=bgr"), None)
    np.testing.assert_array_equal(turned, made[:, ::-1])


def test_caffe_as_keras_writes_it() -> None:
    np.testing.assert_allclose(
        prepare(PIXELS, parse_recipe("caffe"), None), WANTED["BGR of 0..255 less its mean (caffe)"], atol=1e-4
    )


@pytest.mark.parametrize("stored", ["imagenet", "caffe", "signed"])
def test_what_was_undone_is_normalized_image_by_image(stored: str) -> None:
    wanted = prepare(PIXELS, parse_recipe("per-image"), None)
    assert min(float(np.abs(each - wanted).max()) for each in made(stored)) < 1e-3


def test_grey_images_prepared_as_for_mnist_are_undone() -> None:
    stored = (UNIT[:, :1] - 0.1307) / 0.3081
    options = [each.option for each in candidates(stored, pixels=False)]
    assert min(float(np.abs(prepare(stored, parse_recipe(each), None) - UNIT[:, :1]).max()) for each in options) < 1e-3


def test_a_preset_in_the_other_order_keeps_each_mean_with_its_colour() -> None:
    for preset in ("imagenet", "caffe"):
        usual = prepare(PIXELS, PRESETS[preset], None)
        other = "rgb" if PRESETS[preset].order == "bgr" else "bgr"
        turned = prepare(PIXELS, parse_recipe(f"{preset},order={other}"), None)
        np.testing.assert_allclose(turned, usual[:, ::-1], atol=1e-4)


def test_16_bit_images_are_inverted_in_their_own_range() -> None:
    deep = PIXELS.astype(np.uint16) * 257
    found = [prepare(deep, parse_recipe(each.option), None) for each in candidates(UNIT * 65535, pixels=True)]
    assert min(float(np.abs(each - (1 - UNIT)).max()) for each in found) < 1e-4


def stretched(head: np.ndarray, *, pixels: bool) -> list[str]:
    return [each.option for each in candidates(head, pixels=pixels) if each.meaning.startswith("ends taken")]


def test_values_that_fill_nothing_known_are_stretched_by_their_ends() -> None:
    full = np.linspace(0.0, 1.0, 2 * 64).reshape(2, 1, 8, 8)
    assert "mean=0,std=0.6" in stretched(0.6 * 255 * full, pixels=True)
    assert "mean=0,std=0.0624857" in stretched(4095 * full, pixels=True)  # 12 of 16 bits, whose default is 1/65535
    assert "scale=1,mean=0,std=4095" in stretched(4095 * full, pixels=False)
    assert "scale=1,mean=-1.9,std=3.7" in stretched(3.7 * full - 1.9, pixels=False)
    for known in (255 * full, 65535 * full):
        assert stretched(known, pixels=True) == []
    for known in (full, 255 * full, 2 * full - 1, full / 255, 0 * full):
        assert stretched(known, pixels=False) == []


def test_channels_of_negative_values_are_stretched_one_by_one_and_others_together() -> None:
    full = np.linspace(0.0, 1.0, 64).reshape(1, 1, 8, 8) * np.ones((1, 3, 1, 1))
    scale = np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    assert "scale=1,mean=-1:-2:-3,std=4:8:12" in stretched(4 * scale * full - scale, pixels=False)
    assert "scale=1,mean=0,std=12" in stretched(4 * scale * full, pixels=False)
