"""The language of `--preprocess`: presets, and scale, mean, std, order and layout one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from normdiag.data.options import Layout
from normdiag.errors import UsageError

Order = Literal["rgb", "bgr", "grey"]
Fit = Literal["crop", "stretch", "pad"]


@dataclass(frozen=True)
class Recipe:
    """y = (x * scale - mean) / std, after the channels are put into `order` and the axes into `layout`.

    With `swapped` layouts the values of each image lie in memory channels last where its shape has them first, or the
    reverse. Of the images `centre` keeps that share of height and width, enlarged to the whole, and `via` resizes them
    by way of so many pixels on the shorter side. `fit` brings image files of any shape to the size that is wanted: cut,
    stretched or with black borders. With the order grey all three channels are the brightness.

    With `per_image` each sample is then normalized by itself: (y - mean(y)) / std(y) over all of its values.

    `scale` None is 1/255 for integers (1/65535 for uint16) and 1 for floats. `mean` and `std` have one entry, or one
    for each channel in the model's order. `layout` None is what the model declares, else nchw. `text` is the
    canonical form.
    """

    scale: float | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: Order = "rgb"
    layout: Layout | None = None
    swapped: bool = False
    centre: float | None = None
    via: int | None = None
    fit: Fit | None = None
    per_image: bool = False
    text: str = ""


# imagenet, cifar, mnist: mean and standard deviation of the training images, imagenet as torchvision's models expect
# them; clip: as OpenAI's models do; caffe: BGR of 0 to 255 less the mean colour of ImageNet, as Keras' ResNets do.
PRESETS = {
    "imagenet": Recipe(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), text="imagenet"),
    "unit": Recipe(text="unit"),
    "signed": Recipe(mean=(0.5,), std=(0.5,), text="signed"),
    "raw": Recipe(scale=1.0, text="raw"),
    "cifar": Recipe(mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616), text="cifar"),
    "mnist": Recipe(mean=(0.1307,), std=(0.3081,), text="mnist"),
    "clip": Recipe(mean=(0.481, 0.458, 0.408), std=(0.269, 0.261, 0.276), text="clip"),
    "caffe": Recipe(scale=1.0, mean=(103.939, 116.779, 123.68), order="bgr", text="caffe"),
    "per-image": Recipe(per_image=True, text="per-image"),
}
ORDERS: dict[str, Order] = {each: each for each in get_args(Order)}
FITS: dict[str, Fit] = {each: each for each in get_args(Fit)}
LAYOUTS: dict[str, Layout] = {"nchw": "nchw", "nhwc": "nhwc"}
CHOICES = {"order": "rgb, bgr or grey", "layout": "nchw or nhwc", "memory": "swapped", "fit": "crop, stretch or pad"}
_KEYS = ("scale", "mean", "std", "order", "layout", "memory", "centre", "via", "fit")


def parse_recipe(text: str) -> Recipe:
    """Read `PRESET`, `key=value,...` or both (`imagenet,order=bgr`): values that are given replace the preset's.

    Lists are joined by colons: `mean=0.485:0.456:0.406`. Numbers may be fractions: `scale=1/255`. In the other order a
    preset's mean and std are turned round too, so that each colour keeps its own. Raises UsageError.
    """
    head, _, rest = text.strip().partition(",")
    preset = PRESETS.get(head.strip().lower())
    if preset and not rest:
        return preset
    values = _values(rest if preset else text)
    recipe = _with_values(preset or Recipe(), values)
    if (recipe.order == "bgr") != (preset is not None and preset.order == "bgr"):
        recipe = replace(
            recipe,
            mean=recipe.mean if "mean" in values else recipe.mean[::-1],
            std=recipe.std if "std" in values else recipe.std[::-1],
        )
    return replace(recipe, text=_canonical(recipe))


def _values(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key not in _KEYS or key in values:
            raise UsageError(
                f"--preprocess: {part.strip()!r} is not understood; give {', '.join(PRESETS)}, "
                "or scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,order=rgb,layout=nchw"
            )
        values[key] = value
    return values


def _with_values(recipe: Recipe, values: dict[str, str]) -> Recipe:
    for key, value in values.items():
        if key == "order" and value in ORDERS:
            recipe = replace(recipe, order=ORDERS[value])
        elif key == "layout" and value in LAYOUTS:
            recipe = replace(recipe, layout=LAYOUTS[value])
        elif key == "fit" and value in FITS:
            recipe = replace(recipe, fit=FITS[value])
        elif key == "memory" and value == "swapped":
            recipe = replace(recipe, swapped=True)
        elif key in ("centre", "via"):
            recipe = replace(recipe, **_shape(key, value))
        elif key == "scale":
            recipe = replace(recipe, scale=_number(key, value))
        elif key == "mean":
            recipe = replace(recipe, mean=_numbers(key, value))
        elif key == "std":
            recipe = replace(recipe, std=_numbers(key, value))
        else:
            raise UsageError(f"--preprocess: {key} is {CHOICES[key]}, not {value!r}")
    return recipe


def _shape(key: str, text: str) -> dict[str, Any]:
    number = _number(key, text)
    if key == "centre" and 0.0 < number <= 1.0:
        return {"centre": number}
    if key == "via" and number >= 1 and number == int(number):
        return {"via": int(number)}
    raise UsageError(
        f"--preprocess: {'centre is a share in (0, 1]' if key == 'centre' else 'via is whole pixels'}: {text}"
    )


def _numbers(key: str, text: str) -> tuple[float, ...]:
    numbers = tuple(_number(key, part) for part in text.split(":"))
    if key == "std" and 0.0 in numbers:
        raise UsageError("--preprocess: std must not be 0")
    return numbers


def _number(key: str, text: str) -> float:
    top, slash, bottom = text.partition("/")
    try:
        number = float(top) / (float(bottom) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"--preprocess: {key}={text} is no number (lists are joined by colons: 0.485:0.456:0.406)")
    return number


def _canonical(recipe: Recipe) -> str:
    if recipe.per_image and (recipe.mean, recipe.std) == ((0.0,), (1.0,)):
        return "per-image" + (f",order={recipe.order}" if recipe.order != "rgb" else "") + _places(recipe)

    def join(numbers: tuple[float, ...]) -> str:
        return ":".join(f"{number:.9g}" for number in numbers)

    scale = "" if recipe.scale is None else f"scale={recipe.scale:.9g},"
    layout = f",layout={recipe.layout}" if recipe.layout else ""
    head = "per-image," if recipe.per_image else ""
    return f"{head}{scale}mean={join(recipe.mean)},std={join(recipe.std)},order={recipe.order}{layout}{_places(recipe)}"


def _places(recipe: Recipe) -> str:
    """What is done to the places of the values."""
    given = {
        "memory": "swapped" if recipe.swapped else None,
        "fit": recipe.fit,
        "centre": recipe.centre,
        "via": recipe.via,
    }
    return "".join(f",{key}={value}" for key, value in given.items() if value is not None)
