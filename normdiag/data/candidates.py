"""Ways in which a model's input may have been prepared in training, as `--preprocess` takes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.data.recipe import PRESETS, Recipe, parse_recipe

# What floats beyond 0 to 1 may have been made with: undone, they must lie between 0 and 1 again.
UNDONE = ("signed", "imagenet", "cifar", "clip", "mnist")
# These deviations are the mean of those of single CIFAR-10 images: not what was meant, and widely copied.
COPIED = "cifar,std=0.2023:0.1994:0.2010"
TARGETS = ("imagenet", "cifar", COPIED, "clip", "mnist", "unit", "signed", "raw", "caffe", "per-image")
# Presets whose colours may have been in the other order, and whose images inverted.
REORDERED = ("imagenet", "cifar", "unit", "signed")
INVERTED = ("imagenet", "mnist", "unit", "signed")
TOLERANCE, NEAR = 0.02, 0.1
# Images of 8 bits that were divided by 255 twice do not reach this.
TWICE = 0.01
# The first is the usual centre crop: 224 of 256 pixels.
CENTRES = (0.875, 0.75)


@dataclass(frozen=True)
class PreparationCandidate:
    """A preparation: the text for `--preprocess`, what it does to the stored data, and whether people use it."""

    option: str
    meaning: str
    listed: bool = True


def candidates(head: NDArray[Any], *, pixels: bool, used: str | None = None) -> tuple[PreparationCandidate, ...]:
    """The preparations that fit data whose first samples are `head` (N, ...), as it is stored but with channels second.

    `pixels` says that it is stored as 8-bit integers, `used` is the option in use, which comes first. Images
    (N, C, H, W) of one or three channels get all of them; anything else is left as it is, divided by its range, or,
    but for tables, normalized sample by sample.
    """
    found: dict[object, PreparationCandidate] = {}
    for each in _candidates(head, pixels):
        found.setdefault(_effect(each.option, pixels), each)
    if used is not None:
        known = found.pop(_effect(used, pixels), PreparationCandidate(used, "as it is prepared now"))
        return replace(known, option=used), *found.values()
    return tuple(found.values())


def shape_changes(base: PreparationCandidate, head: NDArray[Any]) -> dict[str, str]:
    """What may have been done to images (N, C, H, W) before `base`: values in another order, cut, made coarser, grey.

    By key of a recipe, in words.

    `head` are some of them as they are stored, but with their channels second.
    """
    if head.ndim != 4 or head.shape[1] not in (1, 3):
        return {}
    side, colours = min(head.shape[2:]), head.shape[1] == 3
    changes = {f"centre={share:g}": f"the inner {share:g} of height and width enlarged" for share in CENTRES}
    if side >= 8:
        changes |= {f"via={less}": f"resized by way of {less} pixels" for less in (side // 4, side // 2, 3 * side // 4)}
    if colours:
        changes["memory=swapped"] = "channels first taken for channels last, or the reverse"
    if colours and parse_recipe(base.option).order == "rgb":
        changes["order=grey"] = "made grey"
    return changes


def reshaped_candidate(base: PreparationCandidate, key: str, words: str) -> PreparationCandidate:
    """A preparation of images whose values were put elsewhere before, as `key` of a recipe says."""
    return PreparationCandidate(f"{base.option},{key}", f"{words}, {base.meaning}", False)


def _effect(option: str, pixels: bool) -> object:
    """What tells apart recipes that do different things, whatever they are called."""
    recipe = parse_recipe(option)
    mean, std = (tuple(f"{value:.4g}" for value in values) for values in (recipe.mean, recipe.std))
    scale = recipe.scale if recipe.scale is not None else 1 / 255 if pixels else 1.0
    places = recipe.swapped, recipe.centre, recipe.via
    return scale, recipe.order, recipe.per_image, mean, std, places


def _candidates(head: NDArray[Any], pixels: bool) -> Iterator[PreparationCandidate]:
    if not pixels:
        yield PreparationCandidate("raw", "as it is stored")
    if head.ndim != 4 or head.shape[1] not in (1, 3):
        if head.ndim > 2:  # the columns of a table are not of one kind
            yield PreparationCandidate("per-image", "each sample normalized by itself")
        if pixels:
            yield PreparationCandidate("unit", "divided by its range, to 0..1")
        return
    if not pixels and head.shape[1] == 3:
        yield PreparationCandidate("raw,order=bgr", "colours in the other order")
    for undone, words in _sources(head, pixels):
        for target in TARGETS:
            if _fits(target, head.shape[1]):
                yield from _variants(undone, words, target, head.shape[1])


@dataclass(frozen=True, eq=False)
class _Affine:
    """y = a x + b for each channel."""

    a: NDArray[np.float64]
    b: NDArray[np.float64]

    def is_scale(self, scale: float) -> bool:
        """Whether it is nothing but a multiplication with this number."""
        return bool(np.all(self.a == scale) and np.all(self.b == 0.0))

    def within(self, low: NDArray[np.float64], high: NDArray[np.float64], outside: float, inside: float) -> bool:
        """Whether the extremes (C,) come to lie at most `outside` beyond 0 and 1 and `inside` short of them."""
        low, high = self.a * low + self.b, self.a * high + self.b
        return bool(-outside < low.min() < inside and 1 - inside < high.max() < 1 + outside)


def _sources(head: NDArray[Any], pixels: bool) -> Iterator[tuple[_Affine | None, str]]:
    """How the stored values become 0..1, and that in words; None for 8-bit data, whose presets do so themselves."""
    low, high = head.min((0, 2, 3)).astype(np.float64), head.max((0, 2, 3)).astype(np.float64)
    channels = head.shape[1]
    if pixels:
        yield None, ""
    elif low.min() >= 0 and high.max() > 1.5:
        yield _Affine(np.full(channels, 1 / 255), np.zeros(channels)), "divided by 255, "
    elif low.min() >= 0 and high.max() < TWICE:
        yield _Affine(np.full(channels, 255.0), np.zeros(channels)), "multiplied by 255, "
    elif low.min() >= 0:
        yield _Affine(np.ones(channels), np.zeros(channels)), ""
    else:
        undone = {name: _undone(name, channels) for name in UNDONE if _fits(name, channels)}
        fitting = {name: each for name, each in undone.items() if each.within(low, high, TOLERANCE, 1.0)}
        near = {name: each for name, each in fitting.items() if each.within(low, high, TOLERANCE, NEAR)}
        for name, each in (near or fitting).items():
            yield each, f"{name} undone, "


def _undone(preset: str, channels: int) -> _Affine:
    return _Affine(_spread(PRESETS[preset].std, channels), _spread(PRESETS[preset].mean, channels))


def _fits(preset: str, channels: int) -> bool:
    """Whether a preset is for images of so many channels."""
    recipe = parse_recipe(preset)
    return preset in ("unit", "signed", "raw", "per-image") or (channels == 1) == (len(recipe.mean) == 1)


def _variants(undone: _Affine | None, words: str, target: str, channels: int) -> Iterator[PreparationCandidate]:
    recipe = parse_recipe(target)
    yield PreparationCandidate(_option(undone, recipe, target), f"{words}{_meaning(target)}")
    if channels == 3 and target in REORDERED:
        yield PreparationCandidate(
            _option(undone, recipe, target, order="bgr"), f"{words}{_meaning(target)}, colours as BGR"
        )
        if undone is None and len(recipe.mean) == 3:
            given = f"mean={_joined(np.array(recipe.mean))},std={_joined(np.array(recipe.std))}"
            yield PreparationCandidate(f"{given},order=bgr", f"stored as BGR, {_meaning(target)}")
    if target in INVERTED and len(recipe.mean) in (1, channels):
        yield PreparationCandidate(
            _option(undone, recipe, target, inverted=True), f"{words}inverted, {_meaning(target)}"
        )


def _option(undone: _Affine | None, recipe: Recipe, preset: str, *, order: str = "rgb", inverted: bool = False) -> str:
    """The text for `--preprocess`: the preset where it does all, else the affine map of each channel."""
    bgr = ",order=bgr" if order == "bgr" else ""
    if recipe.per_image or (
        not inverted and (undone is None or undone.is_scale(1.0 if recipe.scale is None else 1 / 255))
    ):
        return preset + bgr
    if undone is not None and undone.is_scale(1 / 255) and not inverted:
        return f"{preset},scale=1/255{bgr}"
    channels = max(len(recipe.mean), 1 if undone is None else len(undone.a))
    a = np.full(channels, 1 / 255) if undone is None else undone.a
    b = np.zeros(channels) if undone is None else undone.b
    if recipe.scale is not None:  # a preset for 0 to 255
        a, b = 255 * a, 255 * b
    if inverted:
        a, b = -a, 1 - b
    mean, std = _spread(recipe.mean, channels), _spread(recipe.std, channels)
    if recipe.order == "bgr":
        bgr, a, b = ",order=bgr", a[::-1], b[::-1]
    if order == "bgr":
        a, b, mean, std = a[::-1], b[::-1], mean[::-1], std[::-1]
    return f"scale=1,mean={_joined((mean - b) / a)},std={_joined(std / a)}{bgr}"


def _spread(values: tuple[float, ...], channels: int) -> NDArray[np.float64]:
    return np.broadcast_to(np.asarray(values, np.float64), (channels,)).copy()


def _joined(values: NDArray[np.float64]) -> str:
    texts = [f"{value:.6g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else ":".join(texts)


def _meaning(preset: str) -> str:
    """A preset in words."""
    return {
        "unit": "0..1",
        "signed": "-1..1",
        "raw": "0..255",
        "caffe": "BGR of 0..255 less its mean (caffe)",
        "per-image": "each image normalized by itself",
        COPIED: "mean of cifar, the deviations that are often copied",
    }.get(preset, f"mean and deviation of {preset}")
