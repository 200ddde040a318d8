"""Images of any shape brought to one size, against Pillow written out; and when other ways are worth trying."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from normdiag.data import DataOptions
from normdiag.data.fits import TRIED, other_fits, target_size
from normdiag.data.recipe import parse_recipe
from normdiag.data.source import open_data, other_image_fits
from normdiag.errors import UsageError
from normdiag.records import InputSpec

RNG = np.random.default_rng(0)
SIZE = DataOptions(resize=(16, 16))


def folder(path: Path, *sizes: tuple[int, int]) -> tuple[list[str], list[Image.Image]]:
    """The data specification of a folder of images of these sizes (width, height), and the images."""
    images = [Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)) for width, height in sizes]
    for index, image in enumerate(images):
        image.save(path / f"{index}.png")
    return [str(path)], images


def read(data: list[str], option: str, options: DataOptions = SIZE, inputs: tuple[InputSpec, ...] = ()) -> np.ndarray:
    used = DataOptions(preprocess=option, resize=options.resize, crop=options.crop)
    return np.concatenate([batch.arrays[0] for batch in open_data(data, used, inputs)]).transpose(0, 2, 3, 1)


def test_images_of_several_shapes_are_cut_stretched_or_get_borders(tmp_path: Path) -> None:
    data, (wide, tall) = folder(tmp_path, (24, 16), (16, 24))
    cut = read(data, "raw,fit=crop")
    np.testing.assert_array_equal(cut[0], np.asarray(wide)[:, 4:20])
    np.testing.assert_array_equal(cut[1], np.asarray(tall)[4:20])
    stretched = read(data, "raw,fit=stretch")
    np.testing.assert_array_equal(stretched[0], np.asarray(wide.resize((16, 16), Image.Resampling.BILINEAR)))
    padded = read(data, "raw,fit=pad")
    small = np.asarray(wide.resize((16, 11), Image.Resampling.BILINEAR))
    rows = np.flatnonzero(padded[0].any((1, 2)))
    assert len(rows) == 11 and rows[0] in (2, 3)
    np.testing.assert_array_equal(padded[0][rows], small)
    assert np.all(padded[1][:, :2] == 0)


def test_the_size_is_that_of_crop_or_resize_or_the_model(tmp_path: Path) -> None:
    data, _ = folder(tmp_path, (24, 16))
    declared = (InputSpec("x", "float32", (None, 3, 10, 12)),)
    assert read(data, "raw,fit=pad", DataOptions(), declared).shape == (1, 10, 12, 3)
    assert read(data, "raw,fit=crop", DataOptions(resize=20, crop=8)).shape == (1, 8, 8, 3)
    assert target_size(DataOptions(), (InputSpec("x", "float32", (None, None, None, 3)),)) is None
    with pytest.raises(UsageError, match="needs a size"):
        read(data, "raw,fit=pad", DataOptions())


def test_other_ways_are_for_images_of_another_shape(tmp_path: Path) -> None:
    data, _ = folder(tmp_path, (16, 16), (24, 16))
    assert list(other_image_fits(data, SIZE, ())) == [key for key in TRIED if key != "fit=stretch"]
    assert list(other_image_fits(data, DataOptions(resize=16, crop=16), ())) == [k for k in TRIED if k != "fit=crop"]
    assert other_image_fits(data, DataOptions(), ()) == {}
    square = sorted(tmp_path.glob("0.png"))
    assert other_fits(square, SIZE, ()) == {}
    assert other_fits(square, DataOptions(resize=(16, 24)), ()) != {}


def test_images_turned_by_their_tag_count_as_they_are_shown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (24, 16)).save(tmp_path / "a.jpg", exif=exif)
    options = DataOptions(resize=(24, 16))
    assert other_image_fits([str(tmp_path)], options, ()) == {}


def test_arrays_have_no_shape_to_be_brought_to(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 8, 9), np.float32))
    data = [str(tmp_path / "x.npy")]
    assert other_image_fits(data, DataOptions(), ()) == {}
    with pytest.raises(UsageError, match="fit= is for image files"):
        open_data(data, DataOptions(preprocess="raw,fit=pad"), (InputSpec("x", "float32", (None, 3, 8, 8)),))


def test_a_recipe_says_how_images_are_fitted() -> None:
    assert parse_recipe(parse_recipe("imagenet,fit=pad,centre=0.875").text).fit == "pad"
    with pytest.raises(UsageError, match="fit is crop, stretch or pad"):
        parse_recipe("imagenet,fit=zoom")
