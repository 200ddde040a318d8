"""From stored arrays to what the model takes: layout, channel order, scale, mean and standard deviation, dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.data.geometry import reread, reshaped
from normdiag.data.options import Layout
from normdiag.data.recipe import PRESETS, Recipe
from normdiag.errors import InputError
from normdiag.records import InputSpec

Array = NDArray[Any]

CHANNELS = (1, 3, 4)
_DTYPES = {"float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32"}


def recipe_for(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    recipe: Recipe | None,
    spec: InputSpec | None,
    *,
    sole: bool = True,
) -> Recipe | None:
    """The recipe that an array gets; None where it is left as it is but for its dtype.

    Without a recipe from the user, 8- and 16-bit images become `unit`; floats and other integers (tokens, masks) stay,
    and so does everything for an input that the model declares as integer. The user's recipe goes to a model's sole
    input, and out of several to the images.
    """
    target = numpy_dtype(spec.dtype) if spec else None
    if target is not None and target.kind in "biu":
        return None
    if recipe is None:
        return PRESETS["unit"] if is_pixels(dtype) else None
    return recipe if sole or is_pixels(dtype) or len(shape) == 4 else None


def describe(used: list[Recipe | None], asked: bool) -> str:
    """What the report says of the preprocessing of all inputs."""
    texts = [recipe.text for recipe in used if recipe]
    if not texts:
        return "raw (as stored)"
    return texts[0] if asked else f"{texts[0]} (default for 8-bit data)"


def prepare(array: Array, recipe: Recipe | None, spec: InputSpec | None, source_layout: Layout | None = None) -> Array:
    """Apply `recipe` to a batch (N, ...), and give it the dtype that the model declares, or float32 for any floats.

    (N, H, W, C), (N, C, H, W) and, for integers, (N, H, W) are images. Raises InputError where the recipe does not fit.
    """
    if recipe is None:
        return cast(array, spec)
    target = recipe.layout or declared_layout(spec) or "nchw"
    images, channel_axis = _arrange(array, source_layout, target, spec, swapped=recipe.swapped)
    if recipe.order == "bgr":
        if images.shape[channel_axis] != 3:
            raise InputError(
                f"order=bgr needs 3 channels; data of shape {array.shape} has {images.shape[channel_axis]}"
            )
        images = np.flip(images, channel_axis)
    if images.ndim == 4:
        images = reshaped(images, recipe, channel_axis)
    prepared = _affine(images, recipe, channel_axis)
    return cast(_per_image(prepared) if recipe.per_image else prepared, spec)


def cast(array: Array, spec: InputSpec | None) -> Array:
    """In the dtype of `spec`; without one, floats of any width as float32 and all else unchanged. Raises InputError."""
    target = numpy_dtype(spec.dtype) if spec else None
    floating = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    if target is None:
        target = np.dtype(np.float32) if floating else array.dtype.newbyteorder("=")
    if target.kind in "biu" and floating:
        raise InputError(f"input {spec.name if spec else ''!r} takes {target}, the data is {array.dtype}")
    if target.kind in "iu" and array.dtype.kind in "iu" and not np.can_cast(array.dtype, target):
        limits = np.iinfo(target)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise InputError(f"input {spec.name if spec else ''!r} takes {target}, the data exceeds its range")
    with np.errstate(over="ignore"):  # an overflow shows as infinity in the check that follows
        return np.ascontiguousarray(array, dtype=target)


def recognise_layout(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Layout | None:
    """The layout of a batch of images from its shape: the axis with 1, 3 or 4 entries holds the channels.

    Where both fit, integers are taken as nhwc, the order of image files, and floats as nchw, that of the framework.
    """
    if len(shape) != 4:
        return None
    last, second = shape[3] in CHANNELS, shape[1] in CHANNELS
    if last and second:
        return "nhwc" if dtype.kind in "iu" else "nchw"
    return "nhwc" if last else "nchw" if second else None


def declared_layout(spec: InputSpec | None) -> Layout | None:
    """The layout in which a model declares an image input, if its shape tells."""
    shape = spec.shape if spec else None
    if shape is None or len(shape) != 4:
        return None
    if shape[1] in CHANNELS:
        return "nchw"
    return "nhwc" if shape[3] in CHANNELS else None


def numpy_dtype(name: str) -> np.dtype[Any] | None:
    """The dtype that an InputSpec names ("float32", "tensor(float)", "DOUBLE"); None if numpy has none such."""
    plain = name.lower().removeprefix("tensor(").removesuffix(")").removeprefix("torch.")
    try:
        return np.dtype(_DTYPES.get(plain, plain))
    except TypeError:
        return None


def _arrange(
    array: Array, source: Layout | None, target: Layout, spec: InputSpec | None, *, swapped: bool
) -> tuple[Array, int]:
    """The batch in the target layout (a view), and its channel axis; anything but images as it is, with axis 1.

    Where layouts are `swapped`, its values lie in memory in the one that its shape does not say.
    """
    if array.ndim == 3 and array.dtype.kind in "iu" and not (spec and spec.shape and len(spec.shape) == 3):
        axis = 1 if target == "nchw" else 3
        return np.expand_dims(array, axis), axis
    if array.ndim != 4:
        return array, min(1, array.ndim - 1)
    source = source or recognise_layout(array.shape, array.dtype) or target
    if swapped:
        array = reread(array, source)
    if source != target:
        array = np.moveaxis(array, *((-1, 1) if target == "nchw" else (1, -1)))
    return array, 1 if target == "nchw" else 3


def _affine(array: Array, recipe: Recipe, axis: int) -> Array:
    """(x * scale - mean) / std in float32, as one multiplication and one addition in place."""
    scale = recipe.scale
    if scale is None:
        scale = 1.0 if array.dtype.kind == "f" else 1 / 65535 if array.dtype == np.uint16 else 1 / 255
    mean, std = (_per_channel(values, array, axis) for values in (recipe.mean, recipe.std))
    factor, shift = scale / std, -mean / std
    # Transposing the small integers first, and only then widening them, is several times faster.
    out = np.ascontiguousarray(array).astype(np.float32)
    if np.any(factor != 1):
        out *= factor.astype(np.float32)
    if np.any(shift != 0):
        out += shift.astype(np.float32)
    return out


def _per_image(array: Array) -> Array:
    """Each sample with mean 0 and standard deviation 1; one without any spread becomes 0."""
    out = array.reshape(len(array), -1)
    out -= out.mean(1, keepdims=True, dtype=np.float64).astype(np.float32)
    std = out.std(1, keepdims=True, dtype=np.float64).astype(np.float32)
    out /= np.where(std > 0, std, 1)
    return out.reshape(array.shape)


def _per_channel(values: tuple[float, ...], array: Array, axis: int) -> NDArray[np.float64]:
    if len(values) not in (1, array.shape[axis]):
        raise InputError(
            f"--preprocess gives {len(values)} values for mean or std; "
            f"data of shape {array.shape} has {array.shape[axis]} channels"
        )
    shape = [1] * array.ndim
    shape[axis] = len(values)
    return np.array(values, np.float64).reshape(shape)


def is_pixels(dtype: np.dtype[Any]) -> bool:
    """Whether values are those of images as they are stored: unsigned, 8 or 16 bits."""
    return dtype.kind == "u" and dtype.itemsize <= 2
