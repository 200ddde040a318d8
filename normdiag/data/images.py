"""Image files: a folder, a glob or a single one, decoded by Pillow into (N, H, W, C) uint8 batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from normdiag.data.feed import ArrayFacts, Feed, check_batch_bytes
from normdiag.data.options import Size
from normdiag.data.recipe import Fit
from normdiag.errors import InputError
from normdiag.records import Batch

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"})
# Only plain raster decoders: others of Pillow start programs (EPS runs Ghostscript).
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
# The tag of EXIF that says how an image is turned.
ORIENTATION = 0x0112
_MAX_PIXELS = 89_478_485  # Pillow's own limit: a quarter GiB of RGB


@dataclass(frozen=True)
class Decoding:
    """How each image is brought into form: to the `size` (height, width) that `fit` needs, else resized and cropped.

    `gray` None keeps what the first image is.
    """

    resize: Size | None = None
    crop: Size | None = None
    gray: bool | None = None
    fit: Fit | None = None
    size: tuple[int, int] = (0, 0)


def image_feed(source: str, paths: list[Path], decoding: Decoding) -> Feed:
    """A feed of image files in the given order. Raises InputError for a damaged, giant or odd-sized image."""
    if decoding.gray is None:
        decoding = replace(decoding, gray=_is_gray(paths[0]))
    shape = decode(paths[0], decoding).shape
    facts = ArrayFacts((len(paths), *shape), np.dtype(np.uint8))
    labels = folder_labels(paths)

    def read(batch_size: int) -> Iterator[Batch]:
        check_batch_bytes(source, facts.shape, facts.dtype, batch_size)
        for start in range(0, len(paths), batch_size):
            yield rows(np.arange(start, min(start + batch_size, len(paths))))

    def rows(indexes: NDArray[np.int64]) -> Batch:
        chosen = [paths[index] for index in indexes]
        pixels = np.stack([_same_shape(path, decode(path, decoding), paths[0], shape) for path in chosen])
        return Batch((pixels,), labels=None if labels is None else labels[indexes])

    return Feed(source, "images", read, (facts,), rows)


def folder_labels(paths: Sequence[Path]) -> NDArray[np.int64] | None:
    """The class of each image where every class has a folder of its own, numbered by sorted name as torchvision does.

    None where the images do not lie in two or more folders side by side.
    """
    folders = sorted({path.parent for path in paths})
    if len(folders) < 2 or len({folder.parent for folder in folders}) > 1:
        return None
    number = {folder: index for index, folder in enumerate(folders)}
    return np.array([number[path.parent] for path in paths], np.int64)


def is_image(path: Path) -> bool:
    """Whether a file has the suffix of an image."""
    return path.suffix.lower() in SUFFIXES


def decode(path: Path, decoding: Decoding) -> Pixels:
    """One image as (H, W, 1 or 3) uint8: turned upright by its EXIF tag, resized, cropped. Raises InputError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of broken EXIF data and the like Pillow tells in two raw lines an image
        return _decoded(path, decoding)


def _decoded(path: Path, decoding: Decoding) -> Pixels:
    from PIL import Image, ImageOps

    with _opened(path) as image:
        deep = image.mode.startswith("I")
        if image.mode == "F":
            raise InputError(f"{path} holds floating-point pixels: save it as .npy")
        # What a hostile file can make a decoder raise has no common type.
        try:
            upright = ImageOps.exif_transpose(image)
            plain = Image.fromarray(_to_bytes(np.asarray(upright))) if deep else upright
            mode = "L" if decoding.gray else "RGB"
            pixels = plain if plain.mode == mode else plain.convert(mode)
        except Exception as error:
            raise InputError(f"{path} is a damaged image: {error}") from error
    array = np.asarray(_sized(path, pixels, decoding))
    return array[..., None] if array.ndim == 2 else array


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width of an image as it is shown, from its header. Raises InputError."""
    with _opened(path) as image:
        turned = image.getexif().get(ORIENTATION, 1) >= 5  # by a quarter
        return image.size if turned else (image.height, image.width)


def _sized(path: Path, image: Image, decoding: Decoding) -> Image:
    if decoding.fit is not None:
        return _fitted(image, decoding.fit, decoding.size)
    return _crop(path, _resize(path, image, decoding.resize), decoding.crop)


def _fitted(image: Image, fit: Fit, size: tuple[int, int]) -> Image:
    """An image in this size (height, width), bilinear with antialiasing."""
    from PIL import ImageOps
    from PIL.Image import Resampling

    wanted, method = (size[1], size[0]), Resampling.BILINEAR
    if fit == "stretch":
        return image.resize(wanted, method)
    if fit == "crop":
        return ImageOps.fit(image, wanted, method)
    return ImageOps.pad(image, wanted, method)


def _opened(path: Path) -> Image:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(path, formats=_FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is larger than {_MAX_PIXELS} pixels: refused as a decompression bomb") from error
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except Exception as error:  # a damaged header: see decode
        raise InputError(f"{path} is no image that can be read (png, jpg, bmp, gif, tiff, webp, ppm)") from error


def _is_gray(path: Path) -> bool:
    with _opened(path) as image:
        return image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")


def _to_bytes(deep: NDArray[Any]) -> Pixels:
    """16-bit gray levels 0..65535 as 0..255, rounded."""
    return ((deep.astype(np.int64).clip(0, 65535) + 128) // 257).astype(np.uint8)


def _resize(path: Path, image: Image, size: Size | None) -> Image:
    """Bilinear with antialiasing; one number is the shorter side, as in torchvision's Resize."""
    if size is None:
        return image
    width, height = image.size
    if isinstance(size, tuple):
        target = (size[1], size[0])
    elif width <= height:
        target = (size, int(size * height / width))
    else:
        target = (int(size * width / height), size)
    if target[0] * target[1] > _MAX_PIXELS:
        raise InputError(f"{path}: resizing {width}x{height} to {size} would give {target[0]}x{target[1]} pixels")
    from PIL.Image import Resampling

    return image if target == image.size else image.resize(target, Resampling.BILINEAR)


def _crop(path: Path, image: Image, size: Size | None) -> Image:
    """The centre, placed as torchvision's CenterCrop does."""
    if size is None:
        return image
    height, width = size if isinstance(size, tuple) else (size, size)
    if width > image.width or height > image.height:
        raise InputError(f"{path} is {image.width}x{image.height}, smaller than --crop {height}x{width}: use --resize")
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _same_shape(path: Path, array: Pixels, first: Path, shape: tuple[int, ...]) -> Pixels:
    if array.shape != shape:
        raise InputError(
            f"{path} is {array.shape[1]}x{array.shape[0]} and {first.name} is {shape[1]}x{shape[0]} (width x height): "
            "use --resize HEIGHTxWIDTH, or --resize with --crop, to bring all images to one size"
        )
    return array
