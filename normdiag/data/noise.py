"""Random data of the input's shape, for when there is none: seeded, and marked as such."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.data.feed import ArrayFacts, Feed, check_batch_bytes
from normdiag.data.preprocess import numpy_dtype
from normdiag.data.usual_sizes import example_option
from normdiag.errors import UsageError
from normdiag.records import Batch, InputSpec

DEFAULT_SAMPLES = 64


def random_feed(
    source: str, inputs: Sequence[InputSpec], shapes: Sequence[str], samples: int | None, seed: int
) -> Feed:
    """Standard normal floats, and 0 or 1 for integer and boolean inputs: `samples` of each input, 64 by default.

    The samples depend on the seed and not on the batch size. Inputs and their shapes come from the model, completed by
    `shapes` (see DataOptions.input_shapes). Raises UsageError where a size is missing, or where inputs
    declare different sizes of the first axis, which then cannot be the samples.
    """
    specs = [_known(spec) for spec in with_shapes(inputs, shapes)]
    firsts = {spec.shape[0] for spec in specs if spec.shape and spec.shape[0] is not None}
    if len(firsts) > 1:
        raise UsageError(
            f"--data random: the inputs declare first axes of {sorted(firsts)}, which cannot be the samples"
        )
    facts = tuple(_facts(spec, samples or DEFAULT_SAMPLES) for spec in specs)

    def read(batch_size: int) -> Iterator[Batch]:
        streams = spawn(len(facts), seed)
        for start in range(0, facts[0].shape[0], batch_size):
            count = min(batch_size, facts[0].shape[0] - start)
            values = (draw(rng, f.dtype, (count, *f.shape[1:])) for rng, f in zip(streams, facts, strict=True))
            yield Batch(tuple(values), names_of(specs))

    for fact in facts:
        check_batch_bytes("--data random", fact.shape, fact.dtype, 1)
    return Feed(source, "random", read, facts)


def names_of(specs: Sequence[InputSpec]) -> tuple[str, ...] | None:
    """What to hand several inputs over by; None where that is their order."""
    return tuple(spec.name for spec in specs) if specs and all(spec.keyword for spec in specs) else None


def parse_input_shape(text: str) -> InputSpec:
    """`[NAME=]3,224,224[:DTYPE]` (or 3x224x224): the shape of one sample. The name is "" if none is given."""
    match = re.fullmatch(r"(?:(.+)=)?(\d+(?:[,x]\d+)*)(?::(\w+))?", text.replace(" ", ""))
    dims = tuple(int(n) for n in re.split("[,x]", match[2])) if match else ()
    if not match or min(dims) < 1:
        raise UsageError(f"--input-shape {text!r}: give the sizes of one sample, like 3,224,224 or ids=128:int64")
    return InputSpec(match[1] or "", match[3] or "float32", (None, *dims))


def with_shapes(inputs: Sequence[InputSpec], shapes: Sequence[str]) -> list[InputSpec]:
    """The declared inputs with the user's shapes put in, by name or by order; what neither gives stays None.

    Raises UsageError where a shape belongs to no input, or where there is neither a declaration nor a shape.
    """
    given = [parse_input_shape(text) for text in shapes]
    if not inputs:
        if not given:
            raise UsageError(
                "--data random needs --input-shape, the shape of one sample (as 3,224,224), for this model"
            )
        return given
    names = [spec.name for spec in inputs]
    unknown = [spec.name for spec in given if spec.name and spec.name not in names]
    if unknown or len(given) > len(inputs):
        wrong = [text for text, spec in zip(shapes, given, strict=True) if not unknown or spec.name in unknown]
        raise UsageError(f"--input-shape {' '.join(wrong)} does not fit the model's inputs: {', '.join(names)}")
    by_name = {spec.name or names[index]: spec for index, spec in enumerate(given)}
    return [_put_in(spec, by_name.get(spec.name)) for spec in inputs]


def _put_in(declared: InputSpec, given: InputSpec | None) -> InputSpec:
    shape = declared.shape
    if given and given.shape:
        dims = given.shape[1:]
        shape = (shape[0], *dims[1:]) if shape and _counts_samples(declared, given) else (None, *dims)
    return replace(declared, shape=shape)


def _counts_samples(declared: InputSpec, given: InputSpec) -> bool:
    """Whoever gives as many sizes as the model declares has counted the sample axis in."""
    return bool(declared.shape and given.shape) and len((given.shape or ())[1:]) == len(declared.shape or ())


def shape_notes(inputs: Sequence[InputSpec], shapes: Sequence[str]) -> tuple[str, ...]:
    """What was made of shapes that have the sample axis in them, where those of one sample are asked for."""
    names = [spec.name for spec in inputs]
    given = [(text, parse_input_shape(text)) for text in shapes]
    pairs = [(text, each, each.name or names[index]) for index, (text, each) in enumerate(given) if inputs]
    declared = {spec.name: spec for spec in inputs}
    return tuple(
        _batch_axis_note(text, each)
        for text, each, name in pairs
        if name in declared and _counts_samples(declared[name], each)
    )


def _batch_axis_note(text: str, given: InputSpec) -> str:
    """That the first size of a shape was taken for that of the batch."""
    taken = ",".join(str(size) for size in (given.shape or ())[2:]) or "one number"
    return f"--input-shape {text} has the batch axis in it: one sample is {taken}"


def _known(spec: InputSpec) -> InputSpec:
    """The same, once it is sure that every size of one sample is known."""
    if spec.shape is None or None in spec.shape[1:]:
        known = "unknown" if spec.shape is None else ", ".join("?" if n is None else str(n) for n in spec.shape)
        raise UsageError(
            f"--data random: input {spec.name!r} has the shape ({known}); "
            f"give the sizes of one sample with {example_option(spec)}"
        )
    return spec


def spawn(count: int, seed: int) -> list[np.random.Generator]:
    """Generators that are independent of each other."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(count)]


def draw(rng: np.random.Generator, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Standard normal values for a floating dtype, 0 or 1 for an integer or boolean one."""
    if dtype.kind in "biu":
        return rng.integers(0, 2, shape, dtype=np.int8).astype(dtype)
    return rng.standard_normal(shape, dtype=np.float32).astype(dtype, copy=False)


def _facts(spec: InputSpec, samples: int) -> ArrayFacts:
    rest = tuple(n for n in (spec.shape or ())[1:] if n is not None)
    return ArrayFacts((samples, *rest), numpy_dtype(spec.dtype) or np.dtype(np.float32), spec.name or None)
