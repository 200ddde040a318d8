"""Folders and globs of images."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from normdiag.data import DataOptions
from normdiag.data.source import open_data
from normdiag.errors import InputError, UsageError
from normdiag.records import InputSpec
from tests.data.helpers import pixels, read


def save(path: Path, array: np.ndarray, **options: object) -> Path:  # type: ignore[type-arg]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "ppm"])
def test_pixels_come_out_as_they_went_in(tmp_path: Path, suffix: str) -> None:
    x = pixels(3, 6, 5, 3)
    for index, image in enumerate(x):
        save(tmp_path / f"{index}.{suffix}", image, **({"lossless": True} if suffix == "webp" else {}))
    result = read(tmp_path, preprocess="raw", batch_size=2)
    assert np.array_equal(result, x.transpose(0, 3, 1, 2))


def test_folders_are_read_deep_and_in_natural_order(tmp_path: Path) -> None:
    for index, name in enumerate(["a/2.png", "a/10.png", "b/1.png", "c.png"]):
        save(tmp_path / name, np.full((2, 2, 3), index, np.uint8))
    (tmp_path / "labels.csv").write_text("x")
    (tmp_path / "a" / "._2.png").write_bytes(b"junk of another system")
    assert read(tmp_path, preprocess="raw")[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert read(tmp_path / "a" / "*.png", preprocess="raw")[:, 0, 0, 0].tolist() == [0, 1]
    assert read(tmp_path / "**" / "1*.png", preprocess="raw")[:, 0, 0, 0].tolist() == [1, 2]
    assert len(read(tmp_path / "c.png")) == 1


def test_the_source_says_how_many_and_what_is_done(tmp_path: Path) -> None:
    for index in range(5):
        save(tmp_path / f"{index}.png", pixels(4, 4, 3))
    info = open_data([str(tmp_path)], DataOptions(max_samples=4)).info
    assert (info.total, info.preprocess, info.source) == (4, "unit (default for 8-bit data)", str(tmp_path))


def test_gray_follows_the_user_then_the_model_then_the_first_image(tmp_path: Path) -> None:
    save(tmp_path / "1.png", pixels(6, 5))
    save(tmp_path / "2.png", pixels(6, 5, 3))
    assert read(tmp_path).shape == (2, 1, 6, 5)
    assert read(tmp_path, grayscale=False).shape == (2, 3, 6, 5)
    assert read(tmp_path, (InputSpec("x", "float32", (None, 3, None, None)),)).shape == (2, 3, 6, 5)
    assert read(tmp_path, (InputSpec("x", "float32", (None, 6, 5, 1)),)).shape == (2, 6, 5, 1)


def test_alpha_palette_and_sixteen_bits_are_brought_to_eight(tmp_path: Path) -> None:
    rgb = pixels(4, 4, 3)
    save(tmp_path / "rgba.png", np.dstack([rgb, pixels(4, 4, seed=1)]))
    assert np.array_equal(read(tmp_path / "rgba.png", preprocess="raw")[0], rgb.transpose(2, 0, 1))
    save(tmp_path / "deep.png", np.array([[0, 257, 65535], [128, 129, 32896]], np.uint16))
    assert read(tmp_path / "deep.png", preprocess="raw")[0, 0].tolist() == [[0, 1, 255], [0, 1, 128]]
    Image.fromarray(rgb).quantize(4).save(tmp_path / "palette.png")
    assert read(tmp_path / "palette.png").shape == (1, 3, 4, 4)
    save(tmp_path / "float.tiff", np.zeros((2, 2), np.float32))
    with pytest.raises(InputError, match="floating-point pixels"):
        read(tmp_path / "float.tiff")


def test_images_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    x = pixels(2, 3, 3)
    save(tmp_path / "x.png", x, exif=exif)
    assert np.array_equal(read(tmp_path / "x.png", preprocess="raw")[0], np.rot90(x, -1).transpose(2, 0, 1))


def test_resize_and_crop_are_those_of_torchvision(tmp_path: Path) -> None:
    save(tmp_path / "1.png", pixels(40, 61, 3))
    save(tmp_path / "2.png", pixels(50, 33, 3))
    assert read(tmp_path, resize=(12, 14)).shape == (2, 3, 12, 14)
    result = read(tmp_path, resize=20, crop=(16, 19), preprocess="raw")
    image = Image.open(tmp_path / "1.png").resize((30, 20), Image.Resampling.BILINEAR)  # int(20 * 61 / 40) = 30
    expected = np.asarray(image)[2:18, 6:25]  # top = round(4 / 2), left = round(11 / 2)
    assert np.array_equal(result[0], expected.transpose(2, 0, 1))
    assert read(tmp_path / "1.png", resize=20).shape == (1, 3, 20, 30)


def test_images_of_different_sizes_name_the_option(tmp_path: Path) -> None:
    save(tmp_path / "1.png", pixels(4, 5, 3))
    save(tmp_path / "2.png", pixels(4, 6, 3))
    with pytest.raises(InputError, match=r"2\.png is 6x4 and 1\.png is 5x4.*--resize"):
        read(tmp_path)
    with pytest.raises(InputError, match=r"smaller than --crop 5x5: use --resize"):
        read(tmp_path, crop=5)
    with pytest.raises(
        InputError, match=r"takes \(N, 3, 8, 8\), the data gives \(N, 3, 4, 5\); for images, use --resize"
    ):
        read(tmp_path / "1.png", (InputSpec("x", "float32", (1, 3, 8, 8)),))


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "ppm", "webp"])
@pytest.mark.parametrize("percent", range(0, 95, 5))
def test_a_truncated_image_is_named(tmp_path: Path, suffix: str, percent: int) -> None:
    path = save(tmp_path / f"cut.{suffix}", pixels(30, 30, 3))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * percent // 100])
    with pytest.raises(InputError, match=rf"cut\.{suffix}"):
        read(tmp_path)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    """A PNG of 300 bytes that claims 10 gigapixels."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    body = _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
    with pytest.raises(InputError, match=r"bomb\.png .*decompression bomb"):
        read(tmp_path)


def test_resizing_cannot_be_made_a_bomb(tmp_path: Path) -> None:
    save(tmp_path / "thin.png", np.zeros((1, 60_000), np.uint8))
    with pytest.raises(InputError, match="would give"):
        read(tmp_path, resize=224)


def test_postscript_never_reaches_a_decoder(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(InputError, match=r"x\.png is no image"):
        read(tmp_path)


def test_folders_and_globs_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "1.npy").write_bytes(b"x")
    (tmp_path / "2.npy").write_bytes(b"x")
    with pytest.raises(InputError, match=r"holds no images \(2 other files\)"):
        read(tmp_path)
    with pytest.raises(InputError, match="which is no image"):
        read(tmp_path / "*.npy")
    with pytest.raises(InputError, match="no file matches"):
        read(tmp_path / "*.jpg")


def test_image_options_are_refused_for_other_data(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", pixels(2, 4, 4, 3))
    with pytest.raises(UsageError, match="--resize"):
        read(tmp_path / "x.npy", resize=3)
