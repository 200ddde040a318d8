"""Whether `preprocess` names the preparation that is right: images stored in many ways, three networks.

    python -m benchmarks.preprocess resnet20 pre_activation separable

The images are stored as they are, and as data sets are wrongly or otherwise stored: each time one preparation, or
several that do the same, give back what the network was trained on, or none does. Its first answer is right, undecided
(several that fit, or none named) or wrong. Needs ../shared/real; the networks are those of benchmarks/diagnosis.
"""

from __future__ import annotations

import argparse
import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import normdiag
from benchmarks.diagnosis.networks import subject
from benchmarks.diagnosis.subjects import Subject
from normdiag.data.preprocess import prepare
from normdiag.data.recipe import parse_recipe
from normdiag.errors import InputError

Images = NDArray[np.uint8]
Stored = NDArray[np.generic]
SAMPLES = 256
# Two preparations of the same images are one where they differ by less than this, in the network's units.
SAME = 0.06


@dataclass(frozen=True)
class Way:
    """How images may be stored; `undoable` where some preparation gives back what the network takes."""

    name: str
    store: Callable[[Images, Subject], Stored]
    undoable: bool = True


@dataclass(frozen=True)
class Answer:
    """What was named for one way of storing, and whether that is right."""

    net: str
    way: str
    named: tuple[str, ...]
    verdict: str


def planar(x: Images) -> NDArray[np.float32]:
    """(N, C, H, W) in 0..1."""
    return x.transpose(0, 3, 1, 2).astype(np.float32) / 255.0


def _resampled(x: Images, change: Callable[[Image.Image], Image.Image]) -> Images:
    return np.stack([np.asarray(change(Image.fromarray(each)), np.uint8) for each in x])


def _coarse(x: Images, _: Subject) -> Stored:
    small = x.shape[1] // 2
    return _resampled(x, lambda image: image.resize((small, small), 2).resize(image.size, 2))


def _wide(x: Images, _: Subject) -> Stored:
    """The images as the centre of larger ones, squeezed into their size."""
    edge = x.shape[1] // 14
    padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)), "reflect")
    return _resampled(padded, lambda image: image.resize((x.shape[2], x.shape[1]), 2))


def _jpeg(x: Images, _: Subject) -> Stored:
    def through(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=8)
        return Image.open(buffer)

    return _resampled(x, through)


def _by(recipe: str) -> Callable[[Images, Subject], Stored]:
    return lambda x, _: prepare(x, parse_recipe(recipe), None)


WAYS = (
    Way("as 8-bit images", lambda x, _: x),
    Way("ready for the network", lambda x, net: prepare(x, parse_recipe(net.recipe or "raw"), None)),
    Way("floats of 0..255", _by("raw")),
    Way("floats of 0..1", _by("unit")),
    Way("-1..1", _by("signed")),
    Way("mean and deviation of ImageNet", _by("imagenet")),
    Way("mean and deviation of CIFAR-10", _by("cifar")),
    Way("BGR, 8 bits", lambda x, _: np.ascontiguousarray(x[..., ::-1])),
    Way("BGR less its mean (caffe)", _by("caffe"), undoable=False),
    Way("inverted", lambda x, _: 255 - x),
    Way("divided by 255 twice", _by("scale=1/65025")),
    Way("channels first, reshaped in place of transposed", lambda x, _: planar(x).reshape(len(x), *x.shape[1:])),
    Way("channels last, reshaped in place of transposed", lambda x, _: (x / np.float32(255)).reshape(planar(x).shape)),
    Way("grey", lambda x, _: np.repeat(np.rint(x.mean(3, keepdims=True)), 3, 3).astype(np.uint8), undoable=False),
    Way("by way of half the pixels", _coarse, undoable=False),
    Way("more around it", _wide, undoable=False),
    Way("JPEG of quality 8", _jpeg, undoable=False),
    Way("dark", lambda x, _: (x * 0.35).astype(np.uint8), undoable=False),
    Way("mirrored", lambda x, _: np.ascontiguousarray(x[:, :, ::-1])),
)


def answers(net: Subject) -> Iterator[Answer]:
    """One for each way of storing."""
    images = net.test.stored[:SAMPLES]
    right = prepare(images, parse_recipe(net.recipe or "raw"), None)
    for way in WAYS:
        stored = way.store(images, net)
        try:
            found = normdiag.preprocess(net.copied(), stored).found
        except InputError:
            continue
        named = (found.best,) if found.best is not None else found.fitting
        yield Answer(net.name, way.name, named, _verdict(way, stored, named, right))


def _verdict(way: Way, stored: Stored, named: tuple[str, ...], right: Stored) -> str:
    if way.name == "mirrored":
        right = right[..., ::-1]
    fits = [_same(prepare(stored, parse_recipe(option), None), right) for option in named]
    if len(named) == 1:
        return "right" if fits[0] else "wrong" if way.undoable else "named, and nothing undoes it"
    return "undecided, right among them" if any(fits) else "undecided"


def _same(x: Stored, right: Stored) -> bool:
    return x.shape == right.shape and float(np.sqrt(np.mean((x - right) ** 2))) < SAME * float(right.std())


def main() -> None:
    """Print the tables of docs/preprocess.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="+")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = [each for name in given.nets for each in answers(subject(name))]
    print(f"| stored | {' | '.join(given.nets)} |\n|---|{'---|' * len(given.nets)}")
    for way in dict.fromkeys(each.way for each in rows):
        cells = [next((_cell(each) for each in rows if (each.net, each.way) == (name, way)), "") for name in given.nets]
        print(f"| {way} | {' | '.join(cells)} |")
    print("\n" + ", ".join(f"{verdict}: {count}" for verdict, count in Counter(each.verdict for each in rows).items()))


def _cell(answer: Answer) -> str:
    return f"{answer.verdict}: " + (", ".join(f"`{option}`" for option in answer.named[:3]) or "nothing fits")


if __name__ == "__main__":
    main()
