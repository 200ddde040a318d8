"""Sizes that inputs usually have: tried where a model leaves them free, and shown where one has to be given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from normdiag.data.preprocess import CHANNELS, numpy_dtype
from normdiag.records import InputSpec

# Sides of images: those of ImageNet and CIFAR nets first, then of detectors, MNIST's, and powers of two.
SIDES = (224, 32, 320, 28, 64, 128, 256, 512, 96, 16)
# Lengths of signals and sequences, and numbers of features: powers of two, a second of speech among them.
LENGTHS = (128, 16, 1024, 16_000, 64, 512, 4096)
# An axis of rank five and more is short, or nothing would fit into memory.
DEPTHS = (16, 64, 8)
SECOND_OF_SPEECH = 16_000
GUESSED = "sizes that it leaves free, guessed"
_AUDIO = re.compile(r"audio|wav|speech|signal|pcm|sound|voice", re.IGNORECASE)


def usual_shapes(spec: InputSpec) -> list[tuple[int, ...]]:
    """Shapes of one sample that fit what is declared, the most usual first; one alone where every size is declared."""
    declared = _with_rank(spec)
    channels = _free_channels(declared)
    found = []
    for count in CHANNELS[:2][::-1] if channels else (0,):
        for size in _sizes(spec, len(declared)):
            filled = [size if each is None else each for each in declared]
            for axis in channels:
                filled[axis] = count
            found.append(tuple(filled))
    return list(dict.fromkeys(found))


def usual_inputs_of(specs: Sequence[InputSpec]) -> list[tuple[InputSpec, ...]]:
    """All inputs with every size of a sample known, guess after guess: inputs of one kind get the same sizes."""
    shapes = [usual_shapes(spec) for spec in specs]
    count = max((len(each) for each in shapes), default=0)
    return [
        tuple(
            replace(spec, shape=(_samples(spec), *each[min(index, len(each) - 1)]))
            for spec, each in zip(specs, shapes, strict=True)
        )
        for index in range(count)
    ]


def sample_text(spec: InputSpec, shape: Sequence[int | str], joined: str = ",") -> str:
    """The shape of one sample and, where it is not float32, its dtype, as `--input-shape` takes them."""
    sizes = joined.join(str(size) for size in shape)
    return sizes if spec.dtype in ("float32", "unknown") else f"{sizes}:{spec.dtype}"


def example_option(spec: InputSpec) -> str:
    """An `--input-shape` that fits the rank and the dtype of an input."""
    name = f"{spec.name}=" if spec.name else ""
    return f"--input-shape {name}{sample_text(spec, usual_shapes(spec)[0])}"


def _samples(spec: InputSpec) -> int | None:
    return spec.shape[0] if spec.shape else None


def _with_rank(spec: InputSpec) -> tuple[int | None, ...]:
    """The sizes of one sample; without a declaration those of an image, or of a sequence of integers."""
    if spec.shape is not None:
        return spec.shape[1:]
    return (None,) if _is_integer(spec) else (None, None, None)


def _free_channels(declared: Sequence[int | None]) -> tuple[int, ...]:
    """The axis of the channels of an image, where all that tells it is its place."""
    known = [size for size in declared if size is not None]
    return (0,) if len(declared) == 3 and declared[0] is None and not any(size in CHANNELS for size in known) else ()


def _sizes(spec: InputSpec, rank: int) -> tuple[int, ...]:
    if _is_integer(spec) and rank < 3:
        return LENGTHS
    if rank < 3:
        audio = rank == 1 and _AUDIO.search(spec.name)
        return (SECOND_OF_SPEECH, *LENGTHS) if audio else LENGTHS
    return SIDES if rank == 3 else DEPTHS


def _is_integer(spec: InputSpec) -> bool:
    dtype = numpy_dtype(spec.dtype)
    return dtype is not None and dtype.kind in "biu"
