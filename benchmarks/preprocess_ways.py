"""Ways in which the images of a network may be stored or changed, and what a right preparation makes of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.diagnosis.subjects import Subject
from normdiag.data.geometry import reshaped
from normdiag.data.preprocess import prepare
from normdiag.data.recipe import parse_recipe

Images = NDArray[np.uint8]
Stored = NDArray[np.generic]
# Two preparations of the same images are one where they differ by less than this, in the network's units.
SAME = 0.06
# And one that was fitted is as good as right up to this: its error is that of 32 images.
FITTED = 0.15


@dataclass(frozen=True)
class Way:
    """How images (N, H, W) or (N, H, W, 3) may be stored.

    A right preparation gives back the network's own input: of the images as they were and, where they were `changed`,
    of those that they have become, since nothing undoes a change; of images with more around it, of their `centre` too.
    """

    name: str
    store: Callable[[Images, Subject], Stored]
    changed: bool = False
    colour: bool = False
    centre: float | None = None

    def right(self, images: Images, stored: Stored) -> list[Images]:
        """The images of which the network's own preparation is right."""
        found = [images]
        if self.changed:
            found.append(stored.astype(np.uint8))
        if self.centre is not None:
            found.append(_inner(stored.astype(np.uint8), self.centre))
        return found


def the_same(x: Stored, right: Stored, *, fitted: bool = False) -> bool:
    """Whether two preparations of images are one."""
    most = FITTED if fitted else SAME
    return x.shape == right.shape and float(np.sqrt(np.mean((x - right) ** 2))) < most * float(right.std())


def planar(x: Images) -> NDArray[np.float32]:
    """(N, C, H, W) in 0..1."""
    return (x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)).astype(np.float32) / 255.0


def _inner(x: Images, centre: float) -> Images:
    axis = 3 if x.ndim == 4 else 1
    wide = x if x.ndim == 4 else x[:, None]
    return np.asarray(reshaped(wide, parse_recipe(f"raw,centre={centre}"), axis)).reshape(x.shape)


def _resampled(x: Images, change: Callable[[Image.Image], Image.Image]) -> Images:
    return np.stack([np.asarray(change(Image.fromarray(each)), np.uint8) for each in x])


def _by_way_of(share: float) -> Callable[[Images, Subject], Stored]:
    def coarse(x: Images, _: Subject) -> Stored:
        small = round(share * x.shape[1])
        return _resampled(x, lambda image: image.resize((small, small), 2).resize(image.size, 2))

    return coarse


def _wide(share: float) -> Callable[[Images, Subject], Stored]:
    """The images as the inner share of larger ones, squeezed into their size."""

    def wide(x: Images, _: Subject) -> Stored:
        edge = round(x.shape[1] * (1 / share - 1) / 2)
        padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge), *(((0, 0),) if x.ndim == 4 else ())), "reflect")
        return _resampled(padded, lambda image: image.resize((x.shape[2], x.shape[1]), 2))

    return wide


def _cut(share: float) -> Callable[[Images, Subject], Stored]:
    """Their inner share, enlarged."""
    return lambda x, _: _inner(x, share)


def _jpeg(quality: int) -> Callable[[Images, Subject], Stored]:
    def through(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return lambda x, _: _resampled(x, through)


def _by(recipe: str) -> Callable[[Images, Subject], Stored]:
    return lambda x, _: prepare(x, parse_recipe(recipe), None)


def _grey(x: Images, _: Subject) -> Stored:
    return np.repeat(np.rint(x.mean(3, keepdims=True)), 3, 3).astype(np.uint8)


def _times(factor: float) -> Callable[[Images, Subject], Stored]:
    return lambda x, _: np.clip(x * factor, 0, 255).astype(np.uint8)


WAYS = (
    Way("8-bit images", lambda x, _: x),
    Way("ready for the network", lambda x, net: prepare(x, parse_recipe(net.recipe or "raw"), None)),
    Way("floats of 0..255", _by("raw")),
    Way("floats of 0..1", _by("unit")),
    Way("-1..1", _by("signed")),
    Way("mean and deviation of ImageNet", _by("imagenet"), colour=True),
    Way("mean and deviation of CIFAR-10", _by("cifar"), colour=True),
    Way("those of CLIP", _by("clip"), colour=True),
    Way("mean and deviation of MNIST", _by("scale=1/255,mean=0.1307,std=0.3081")),
    Way("BGR, 8 bits", lambda x, _: np.ascontiguousarray(x[..., ::-1]), colour=True),
    Way("BGR, mean and deviation of ImageNet", _by("imagenet,order=bgr"), colour=True),
    Way("BGR less its mean (caffe)", _by("caffe"), colour=True),
    Way("RGB less its mean", _by("caffe,order=rgb"), colour=True),
    Way("inverted", lambda x, _: 255 - x),
    Way("divided by 255 twice", _by("scale=1/65025")),
    Way("channels first, reshaped in place of transposed", lambda x, _: planar(x).reshape(x.shape), colour=True),
    Way(
        "channels last, reshaped in place of transposed",
        lambda x, _: (x / np.float32(255)).reshape(planar(x).shape),
        colour=True,
    ),
    Way("grey, as three channels", _grey, changed=True, colour=True),
    Way("by way of 3/4 of the pixels", _by_way_of(0.75), changed=True),
    Way("by way of 3/8 of the pixels", _by_way_of(0.375), changed=True),
    Way("inner 7/8 alone", _cut(0.875), changed=True),
    Way("inner half alone", _cut(0.5), changed=True),
    Way("more around it, 7/8 inside", _wide(0.875), changed=True, centre=0.875),
    Way("more around it, 3/4 inside", _wide(0.75), changed=True, centre=0.75),
    Way("JPEG of quality 30", _jpeg(30), changed=True),
    Way("JPEG of quality 8", _jpeg(8), changed=True),
    Way("dark, x 0.6", _times(0.6), changed=True),
    Way("dark, x 0.35", _times(0.35), changed=True),
    Way("bright, x 1.8", _times(1.8), changed=True),
    Way("mirrored", lambda x, _: np.ascontiguousarray(x[:, :, ::-1]), changed=True),
    Way("upside down", lambda x, _: np.ascontiguousarray(x[:, ::-1]), changed=True),
)
