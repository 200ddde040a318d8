"""Ways in which a model's input may have been prepared in training, as `--preprocess` takes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from normdiag.data.recipe import parse_recipe
from normdiag.data.storage import STRETCHED, StorageForm, channel_map, fits_channels, option_from, storages
from normdiag.records.preparation import NumbersFrom

# These deviations are the mean of those of single CIFAR-10 images: not what was meant, and widely copied.
COPIED = "cifar,std=0.2023:0.1994:0.2010"
TARGETS = ("imagenet", "cifar", COPIED, "clip", "mnist", "unit", "signed", "raw", "caffe", "per-image")
# Presets whose colours may have been in the other order, and whose images inverted.
REORDERED = ("imagenet", "cifar", "unit", "signed", "raw", "caffe")
INVERTED = ("imagenet", "mnist", "unit", "signed")
# The first is the usual centre crop: 224 of 256 pixels.
CENTRES = (0.875, 0.75)


@dataclass(frozen=True)
class PreparationCandidate:
    """A preparation: the text for `--preprocess`, what it does to the stored data, and whether people use it.

    `numbers_from` says where its scale and shift come from: what adapts to each image, or to the model's statistics,
    comes near to them with images to which something else was done, too.
    """

    option: str
    meaning: str
    listed: bool = True
    numbers_from: NumbersFrom = "preset"

    @property
    def adapts(self) -> bool:
        """Whether its numbers depend on the images or the model."""
        return self.numbers_from != "preset"


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
        known = found.pop(
            _effect(used, pixels), PreparationCandidate(used, "as it is prepared now", numbers_from=_numbers_from(used))
        )
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
    if colours and "order=" not in base.option and parse_recipe(base.option).order == "rgb":
        changes["order=grey"] = "made grey"
    return changes


def reshaped_candidate(base: PreparationCandidate, key: str, words: str) -> PreparationCandidate:
    """A preparation of images whose values were put elsewhere before, as `key` of a recipe says."""
    option = without_fit(base.option) if key.startswith("fit=") else base.option
    return replace(base, option=f"{option},{key}", meaning=f"{words}, {base.meaning}", listed=False)


def without_fit(option: str) -> str:
    """A preparation without what it says of how images are brought to one shape."""
    return ",".join(part for part in option.split(",") if not part.startswith("fit="))


def _effect(option: str, pixels: bool) -> object:
    """What tells apart recipes that do different things, whatever they are called."""
    recipe = parse_recipe(option)
    maps = tuple(f"{round(value, 9):.4g}" for each in channel_map(recipe, pixels=pixels) for value in each)
    return maps, recipe.order, recipe.per_image, recipe.swapped, recipe.fit, recipe.centre, recipe.via


def _candidates(head: NDArray[Any], pixels: bool) -> Iterator[PreparationCandidate]:
    if not pixels:
        yield PreparationCandidate("raw", "as it is stored")
    if head.ndim != 4 or head.shape[1] not in (1, 3):
        if head.ndim > 2:  # the columns of a table are not of one kind
            yield PreparationCandidate("per-image", "each sample normalized by itself", numbers_from="images")
        if pixels:
            yield PreparationCandidate("unit", "divided by its range, to 0..1")
        return
    if not pixels and head.shape[1] == 3:
        yield PreparationCandidate("raw,order=bgr", "colours in the other order")
    for stored in storages(head, pixels=pixels):
        for target in REORDERED if stored.turned else TARGETS:
            if fits_channels(target, head.shape[1]):
                yield from _variants(stored, target, head.shape[1])


def _variants(stored: StorageForm, target: str, channels: int) -> Iterator[PreparationCandidate]:
    """Preparations of images that were stored so; in their usual order for either order, and inverted, too."""
    meaning = _meaning(target)
    yield _candidate(stored, target, meaning)
    if stored.turned:
        return
    if channels == 3 and target in REORDERED:
        other = "rgb" if parse_recipe(target).order == "bgr" else "bgr"
        yield _candidate(stored, f"{target},order={other}", f"{meaning}, colours as {other.upper()}")
    if target in INVERTED and len(parse_recipe(target).mean) in (1, channels):
        yield _candidate(stored.inverted(), target, meaning)


def _candidate(stored: StorageForm, target: str, meaning: str) -> PreparationCandidate:
    option, usual = option_from(stored, target), STRETCHED not in stored.words
    return PreparationCandidate(option, f"{stored.words}{meaning}", usual, _numbers_from(option))


def _numbers_from(option: str) -> NumbersFrom:
    return "images" if parse_recipe(option).per_image else "preset"


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
