"""How images of 0..1 became the values that are stored, and the option that makes of these what a model takes.

Data sets hold images as they are, or already prepared for some model. Each preset with a mean is undone, and what then
lies between 0 and 1 may have been stored so. Where nothing that is known fills 0..1, the ends of the values are taken
for black and white.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.data.recipe import PRESETS, Recipe, parse_recipe

Floats = NDArray[np.float64]

# What is undone must lie between 0 and 1 but for the first; what comes within the second of both is preferred.
TOLERANCE, NEAR = 0.02, 0.1
# Images of 8 bits that were divided by 255 twice do not reach this; those of 0..1 do not get beyond the second.
TWICE, UNIT = 0.01, 1.5
STRETCHED = "ends taken for black and white, "


@dataclass(frozen=True, eq=False)
class StorageForm:
    """How stored values x become images of 0..1: a_c x + b_c for each stored channel (C,).

    `bgr` says that the stored channels are blue, green and red, `turned` that this is not their usual order, `pixels`
    that x are integers of 0..255 in place of floats. `words` tell it before the name of a preparation.
    """

    a: Floats
    b: Floats
    words: str = ""
    bgr: bool = False
    turned: bool = False
    pixels: bool = False

    def in_other_order(self) -> StorageForm:
        """The same with the colours stored in the other order."""
        words = f"{self.words}stored as {'RGB' if self.bgr else 'BGR'}, "
        return replace(self, a=self.a[::-1], b=self.b[::-1], words=words, bgr=not self.bgr, turned=True)

    def inverted(self) -> StorageForm:
        """The same of images that are stored as their negatives."""
        return replace(self, a=-self.a, b=1.0 - self.b, words=f"{self.words}inverted, ")

    def within(self, low: Floats, high: Floats, short: float) -> bool:
        """Whether the extremes (C,) of x come to lie between 0 and 1, and at most `short` short of both."""
        low, high = self.a * low + self.b, self.a * high + self.b
        return bool(-TOLERANCE < low.min() < short and 1 - short < high.max() < 1 + TOLERANCE)


def storages(head: NDArray[Any], *, pixels: bool) -> list[StorageForm]:
    """How images may have been stored whose first are `head` (N, C, H, W), C 1 or 3, by the range of their values.

    Colours may be in either order; the one that is usual comes first.
    """
    low, high = head.min((0, 2, 3)).astype(np.float64), head.max((0, 2, 3)).astype(np.float64)
    if pixels and high.max() > 255:  # 16 bits
        low, high = low / 257, high / 257
    one = np.ones(head.shape[1])
    if pixels:
        found = [StorageForm(one / 255, 0 * one, pixels=True)]
    elif low.min() >= 0 and high.max() > UNIT:
        found = [StorageForm(one / 255, 0 * one, "divided by 255, ")]
    elif low.min() >= 0 and high.max() < TWICE:
        found = [StorageForm(255 * one, 0 * one, "multiplied by 255, ")]
    elif low.min() >= 0:
        found = [StorageForm(one, 0 * one)]
    else:
        undone = [_undone(name, len(one)) for name, recipe in PRESETS.items() if any(recipe.mean)]
        usual = [each for each in undone if each is not None]
        fitting = [each for each in _in_either_order(usual) if each.within(low, high, 1.0)]
        near = [each for each in fitting if each.within(low, high, NEAR)]
        return near or [*fitting, *_in_either_order(_stretched(low, high, pixels))]
    narrow = not any(each.within(low, high, NEAR) for each in found)
    return _in_either_order([*found, *(_stretched(low, high, pixels) if narrow else [])])


def _stretched(low: Floats, high: Floats, pixels: bool) -> list[StorageForm]:
    """Images that fill 0..1, of which a scale, and a shift of negative values, made what has these extremes (C,).

    Their ends say which scale without any look at a model's statistics. Values from 0 on have one scale for all
    channels, others were prepared channel by channel.
    """
    if low.min() >= 0:
        low, high = 0.0 * low, np.full_like(high, high.max())
    if np.any(high <= low) or not np.all(np.isfinite(high - low)):
        return []
    return [StorageForm(1 / (high - low), -low / (high - low), STRETCHED, pixels=pixels)]


def _in_either_order(found: Sequence[StorageForm]) -> list[StorageForm]:
    return [*found, *(each.in_other_order() for each in found if len(each.a) == 3)]


def fits_channels(preset: str, channels: int) -> bool:
    """Whether a preset is for images of so many channels: grey ones have one mean, those in colour three, or any."""
    recipe = parse_recipe(preset)
    return preset in ("unit", "signed", "raw", "per-image") or (channels == 1) == (len(recipe.mean) == 1)


def channel_map(recipe: Recipe, *, pixels: bool) -> tuple[Floats, Floats]:
    """a and b, (C,) or (1,), of a x + b, which the recipe does to values x once their channels are in its order."""
    scale = recipe.scale if recipe.scale is not None else 1 / 255 if pixels else 1.0
    mean, std = np.array(recipe.mean), np.array(recipe.std)
    return scale / std, -mean / std


def option_from(stored: StorageForm, target: str) -> str:
    """The text for `--preprocess` that makes of stored values what `target`, another such text, makes of 8-bit images.

    It is `target` itself, with little beside it, where that does the same.
    """
    recipe = parse_recipe(target)
    turned = stored.bgr != (recipe.order == "bgr")
    a, b = (each[::-1] if turned else each for each in (stored.a, stored.b))
    order = ",order=bgr" if turned else ""
    scale, shift = channel_map(recipe, pixels=False)
    range_ = 1.0 if recipe.scale is None else 255.0
    wanted = range_ * scale * a, range_ * scale * b + shift
    if recipe.per_image and _is_alike(a) and _is_alike(b):  # what it then undoes by itself
        return f"{target}{order}"
    for short in (target, f"{target.partition(',order')[0]}{order}", f"{target},scale=1/255"):
        if _does(short, wanted, turned, stored.pixels):
            return short
    unit, given = (255.0, "") if stored.pixels else (1.0, "scale=1,")
    head = "per-image," if recipe.per_image else ""
    mean, std = -wanted[1] / (unit * wanted[0]), 1 / (unit * wanted[0])
    return f"{head}{given}mean={_joined(mean)},std={_joined(std)}{order}"


def _undone(preset: str, channels: int) -> StorageForm | None:
    """How what was prepared so becomes an image again; None where it is not for images of so many channels."""
    recipe = PRESETS[preset]
    if not fits_channels(preset, channels):
        return None
    a, b = (np.broadcast_to(each, (channels,)) for each in channel_map(recipe, pixels=False))
    range_ = 1.0 if recipe.scale is None else 255.0
    return StorageForm(1 / (range_ * a), -b / (range_ * a), f"{preset} undone, ", recipe.order == "bgr")


def _does(option: str, wanted: tuple[Floats, Floats], turned: bool, pixels: bool) -> bool:
    recipe = parse_recipe(option)
    done = channel_map(recipe, pixels=pixels)
    same = all(np.allclose(one, other, rtol=1e-9, atol=1e-12) for one, other in zip(done, wanted, strict=True))
    return same and not recipe.per_image and (recipe.order == "bgr") == turned


def _is_alike(values: Floats) -> bool:
    return bool(np.all(values == values[0]))


def _joined(values: Floats) -> str:
    texts = [f"{value:.6g}" for value in np.round(values, 9) + 0.0]  # no -0, and no rounding errors
    return texts[0] if len(set(texts)) == 1 else ":".join(texts)
