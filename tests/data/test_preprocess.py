"""Preprocessing against its formula written out, and the language of --preprocess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from normdiag.data import DataOptions
from normdiag.data.preprocess import prepare, recognise_layout
from normdiag.data.recipe import PRESETS, parse_recipe
from normdiag.data.source import open_data
from normdiag.errors import InputError, UsageError
from normdiag.records import InputSpec
from tests.data.helpers import floats, pixels, read, whole

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGES = pixels(6, 9, 7, 3)


def explicit(x: NDArray[Any], scale: float, mean: Any, std: Any) -> NDArray[np.float64]:
    """Pixel by pixel, channels last in and channels first out."""
    n, h, w, c = x.shape
    out = np.empty((n, c, h, w))
    for channel in range(c):
        out[:, channel] = (x[..., channel].astype(np.float64) * scale - mean[channel]) / std[channel]
    return out


@pytest.mark.parametrize(
    ("text", "scale", "mean", "std"),
    [
        ("imagenet", 1 / 255, MEAN, STD),
        ("unit", 1 / 255, (0, 0, 0), (1, 1, 1)),
        ("signed", 2 / 255, (1, 1, 1), (1, 1, 1)),
        ("raw", 1, (0, 0, 0), (1, 1, 1)),
        ("scale=1,mean=104:117:123", 1, (104, 117, 123), (1, 1, 1)),
        ("mean=0.5,std=0.25", 1 / 255, (0.5,) * 3, (0.25,) * 3),
        ("scale=1/127.5,mean=1:0.5:0,std=1:2:4,order=rgb,layout=nchw", 1 / 127.5, (1, 0.5, 0), (1, 2, 4)),
    ],
)
def test_the_formula_holds(tmp_path: Path, text: str, scale: float, mean: Any, std: Any) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    result = read(tmp_path / "x.npy", preprocess=text, batch_size=4)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, explicit(IMAGES, scale, mean, std), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stored", ["nhwc", "nchw"])
@pytest.mark.parametrize("wanted", ["nhwc", "nchw"])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_layouts_and_orders_in_all_combinations(tmp_path: Path, stored: str, wanted: str, order: str) -> None:
    np.save(tmp_path / "x.npy", IMAGES if stored == "nhwc" else IMAGES.transpose(0, 3, 1, 2))
    result = read(tmp_path / "x.npy", preprocess=f"imagenet,order={order},layout={wanted}")
    expected = explicit(IMAGES, 1 / 255, MEAN, STD)
    expected = expected[:, ::-1] if order == "bgr" else expected
    expected = expected if wanted == "nchw" else expected.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_a_mean_given_with_bgr_is_in_the_order_of_the_model(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    result = read(tmp_path / "x.npy", preprocess="scale=1,mean=104:117:123,order=bgr")
    expected = IMAGES[..., ::-1].transpose(0, 3, 1, 2).astype(np.float64) - np.reshape((104, 117, 123), (1, 3, 1, 1))
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_eight_bit_images_are_scaled_to_one_unless_told_otherwise(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    source = open_data([str(tmp_path / "x.npy")])
    assert source.info.preprocess == "unit (default for 8-bit data)"
    np.testing.assert_allclose(whole(source), IMAGES.transpose(0, 3, 1, 2) / 255, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_other_arrays_are_left_as_they_are(tmp_path: Path, dtype: str) -> None:
    x = (floats(5, 8, 8, 3) * 100).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    source = open_data([str(tmp_path / "x.npy")])
    assert source.info.preprocess == "raw (as stored)"
    assert np.array_equal(whole(source), x)


def test_gray_images_get_a_channel_axis_unless_the_model_has_none(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES[..., 0])
    assert read(tmp_path / "x.npy").shape == (6, 1, 9, 7)
    assert read(tmp_path / "x.npy", preprocess="unit,layout=nhwc").shape == (6, 9, 7, 1)
    assert read(tmp_path / "x.npy", (InputSpec("x", "float32", (None, 9, 7)),)).shape == (6, 9, 7)


def test_presets_take_floats_as_scaled_and_say_so_where_they_are_not(tmp_path: Path) -> None:
    unit = np.random.default_rng(0).random((4, 3, 5, 5), dtype=np.float32)
    np.save(tmp_path / "unit.npy", unit)
    np.save(tmp_path / "large.npy", unit * 255)
    source = open_data([str(tmp_path / "unit.npy")], DataOptions(preprocess="imagenet"))
    expected = (unit - np.reshape(MEAN, (1, 3, 1, 1))) / np.reshape(STD, (1, 3, 1, 1))
    np.testing.assert_allclose(whole(source), expected, rtol=1e-5, atol=1e-6)
    assert source.info.notes == ()
    source = open_data([str(tmp_path / "large.npy")], DataOptions(preprocess="imagenet"))
    assert "add scale=1/255" in source.info.notes[0]
    scaled = read(tmp_path / "large.npy", preprocess="imagenet,scale=1/255")
    np.testing.assert_allclose(scaled, expected, rtol=1e-4, atol=1e-5)


def test_the_layout_follows_the_model_unless_the_user_says(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    last = (InputSpec("x", "float32", (None, 9, 7, 3)),)
    assert read(tmp_path / "x.npy", last).shape == (6, 9, 7, 3)
    with pytest.raises(InputError, match=r"'x' takes \(N, 9, 7, 3\), the data gives \(N, 3, 9, 7\).*layout="):
        read(tmp_path / "x.npy", last, preprocess="unit,layout=nchw")


def test_the_dtype_follows_the_model(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", floats(4, 6))
    for dtype, given_dtype in (("float16", np.float16), ("tensor(double)", np.float64), ("float", np.float32)):
        assert read(tmp_path / "x.npy", (InputSpec("x", dtype, (None, 6)),)).dtype == given_dtype
    with pytest.raises(InputError, match="'ids' takes int64, the data is float32"):
        read(tmp_path / "x.npy", (InputSpec("ids", "int64", (None, 6)),))
    np.save(tmp_path / "ids.npy", np.array([[1, 300]]))
    assert read(tmp_path / "ids.npy", (InputSpec("ids", "int32", (None, 2)),)).dtype == np.int32
    assert read(tmp_path / "ids.npy", (InputSpec("ids", "float32", (None, 2)),)).tolist() == [[1.0, 300.0]]
    with pytest.raises(InputError, match="exceeds its range"):
        read(tmp_path / "ids.npy", (InputSpec("ids", "uint8", (None, 2)),))


def test_an_integer_input_gets_pixels_as_they_are(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    source = open_data([str(tmp_path / "x.npy")], None, [InputSpec("x", "uint8", (None, 9, 7, 3))])
    assert source.info.preprocess == "raw (as stored)"
    assert np.array_equal(whole(source), IMAGES)


def test_sixteen_bit_images_are_scaled_by_their_own_range(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((2, 4, 4, 1), 65535, np.uint16))
    assert np.all(read(tmp_path / "x.npy") == 1.0)


@pytest.mark.parametrize(
    ("shape", "dtype", "layout"),
    [
        ((2, 32, 32, 3), "uint8", "nhwc"),
        ((2, 3, 32, 32), "uint8", "nchw"),
        ((2, 3, 32, 3), "uint8", "nhwc"),
        ((2, 3, 32, 3), "float32", "nchw"),
        ((2, 1, 28, 28), "float32", "nchw"),
        ((2, 28, 28, 4), "float32", "nhwc"),
        ((2, 16, 8, 8), "float32", None),
        ((2, 3, 32), "uint8", None),
    ],
)
def test_the_layout_is_told_from_the_shape(shape: tuple[int, ...], dtype: str, layout: str | None) -> None:
    assert recognise_layout(shape, np.dtype(dtype)) == layout


def test_an_ambiguous_layout_can_be_said(tmp_path: Path) -> None:
    x = pixels(2, 3, 5, 3)
    np.save(tmp_path / "x.npy", x)
    np.testing.assert_allclose(read(tmp_path / "x.npy"), x.transpose(0, 3, 1, 2) / 255, rtol=1e-6)
    np.testing.assert_allclose(read(tmp_path / "x.npy", layout="nchw"), x / 255, rtol=1e-6)


@given(
    scale=st.floats(1e-3, 10),
    mean=st.lists(st.floats(-100, 100), min_size=3, max_size=3),
    std=st.lists(st.floats(0.01, 100), min_size=3, max_size=3),
    order=st.sampled_from(["rgb", "bgr"]),
)
def test_a_recipe_survives_its_own_text(scale: float, mean: list[float], std: list[float], order: str) -> None:
    text = f"scale={scale!r},mean={':'.join(map(repr, mean))},std={':'.join(map(repr, std))},order={order}"
    recipe = parse_recipe(text)
    again = parse_recipe(recipe.text)
    assert again.text == recipe.text
    first = prepare(IMAGES, recipe, None)
    np.testing.assert_allclose(prepare(IMAGES, again, None), first, rtol=1e-5, atol=1e-4)


def test_presets_are_their_own_text() -> None:
    assert {name: parse_recipe(name).text for name in PRESETS} == {name: name for name in PRESETS}
    assert parse_recipe("imagenet,order=bgr").mean == MEAN[::-1]
    assert parse_recipe("imagenet,order=bgr").text == "mean=0.406:0.456:0.485,std=0.225:0.224:0.229,order=bgr"


@pytest.mark.parametrize(
    "text",
    ["imagnet", "mean=", "mean=0.4,0.5,0.6", "scale=x", "scale=1/0", "std=0", "std=1:0:1", "order=grb", "layout=chw",
     "", ",", "unit,unit", "mean=1,mean=2", "scale=nan", "raw;order=bgr", "mean=1e999"],
)  # fmt: skip
def test_a_recipe_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--preprocess"):
        parse_recipe(text)


def test_a_recipe_that_does_not_fit_the_data_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES[..., :1])
    with pytest.raises(InputError, match=r"gives 3 values for mean or std.* has 1 channels"):
        read(tmp_path / "x.npy", preprocess="imagenet")
    with pytest.raises(InputError, match="order=bgr needs 3 channels"):
        read(tmp_path / "x.npy", preprocess="unit,order=bgr")
