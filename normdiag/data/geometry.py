"""What a recipe does to the places of an image's values: read in another layout, cut out, made coarser, made grey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from normdiag.errors import InputError

if TYPE_CHECKING:
    from normdiag.data.options import Layout
    from normdiag.data.recipe import Recipe

Array = NDArray[Any]
# Of red, green and blue in brightness (ITU-R BT.601), as Pillow makes grey images.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def reread(array: Array, layout: Layout) -> Array:
    """A batch of images of this layout by its shape, whose values lie in memory in the other one; in the same shape."""
    flat, (count, *shape) = np.ascontiguousarray(array), array.shape
    if layout == "nchw":
        return np.moveaxis(flat.reshape(count, *shape[1:], shape[0]), -1, 1)
    return np.moveaxis(flat.reshape(count, shape[2], *shape[:2]), 1, -1)


def reshaped(images: Array, recipe: Recipe, axis: int) -> Array:
    """Images with their channels on `axis`, in the same shape and dtype: grey, the centre alone, by way of less."""
    if recipe.order == "grey":
        images = _grey(images, axis)
    if recipe.centre is None and recipe.via is None:
        return images
    planes = np.moveaxis(images, axis, 1)
    count, channels, height, width = planes.shape
    flat = planes.reshape(-1, height, width)
    changed = np.stack([_resampled(each, recipe.centre, recipe.via) for each in flat])
    return np.moveaxis(_as_dtype(changed, images.dtype).reshape(count, channels, height, width), 1, axis)


def _grey(images: Array, axis: int) -> Array:
    if images.shape[axis] != 3:
        raise InputError(f"order=grey needs 3 channels, the data has {images.shape[axis]}")
    brightness = np.tensordot(images.astype(np.float32), LUMA, (axis, 0))
    wide = np.broadcast_to(np.expand_dims(brightness, axis), images.shape)
    return _as_dtype(wide, images.dtype)


def _resampled(plane: Array, centre: float | None, via: int | None) -> NDArray[np.float32]:
    """Bilinear with antialiasing, as image libraries resize."""
    from PIL import Image

    image = Image.fromarray(plane.astype(np.float32))
    width, height = image.size
    bilinear = Image.Resampling.BILINEAR
    if centre is not None:
        left, top = width * (1 - centre) / 2, height * (1 - centre) / 2
        image = image.resize((width, height), bilinear, box=(left, top, width - left, height - top))
    if via is not None:
        share = via / min(width, height)
        image = image.resize((max(1, round(share * width)), max(1, round(share * height))), bilinear)
        image = image.resize((width, height), bilinear)
    return np.asarray(image, np.float32)


def _as_dtype(values: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
