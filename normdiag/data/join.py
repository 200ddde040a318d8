"""The feeds of several arguments as batches for the model's inputs: joined, named, preprocessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from numpy.typing import NDArray

from normdiag.data.check import check_shape
from normdiag.data.feed import Feed
from normdiag.data.options import Layout
from normdiag.data.preprocess import cast, numpy_dtype, prepare, recipe_for
from normdiag.data.recipe import Recipe
from normdiag.errors import InputError, UsageError
from normdiag.records import Batch, InputSpec, is_ragged

Array = NDArray[Any]


def joined(
    feeds: Sequence[Feed],
    batch_size: int,
    inputs: Sequence[InputSpec],
    recipe: Recipe | None,
    layout: Layout | None,
) -> Iterator[Batch]:
    """Yield what all feeds give, side by side. Raises InputError where they do not go together or fit the model."""
    for parts in zip_longest(*(feed.read(batch_size) for feed in feeds)):
        arrays: list[Array] = []
        names: list[str | None] = []
        sole = len(feeds) == 1 and parts[0] is not None and len(parts[0].arrays) == 1
        for feed, part in zip(feeds, parts, strict=True):
            if part is None or part.size != parts[0].size:
                raise InputError(_uneven(feeds, parts))
            for index, (array, name) in enumerate(zip(part.arrays, _names(feed, part), strict=True)):
                spec = spec_of(inputs, name, len(arrays) if len(feeds) > 1 else index)
                arrays.append(_fit(feed, array, spec, recipe, layout, sole))
                names.append(name)
        labels = next((part.labels for part in parts if part is not None and part.labels is not None), None)
        known = resolve_names(names, inputs, feeds[0].source)
        lead = next(part for part in parts if part is not None)
        fixed = {name: value for part in parts if part is not None for name, value in part.fixed.items()}
        yield replace(lead, arrays=tuple(arrays), names=known, labels=labels, fixed=fixed)


def reprepared(batch: Batch, recipe: Recipe, inputs: Sequence[InputSpec]) -> Batch:
    """A batch from user code with a recipe applied to what it is for. Raises InputError where it does not fit."""
    sole = len(batch.arrays) == 1
    names = batch.names or [None] * len(batch.arrays)
    specs = [spec_of(inputs, name, index) for index, name in enumerate(names)]
    arrays = tuple(_prepared(array, recipe, spec, sole) for array, spec in zip(batch.arrays, specs, strict=True))
    return replace(batch, arrays=arrays)


def _prepared(array: Array, recipe: Recipe, spec: InputSpec | None, sole: bool) -> Array:
    if not is_ragged(array):
        return prepare(array, recipe_for(array.shape, array.dtype, recipe, spec, sole=sole), spec)
    result = array.copy()
    for index, sample in enumerate(array):
        result[index] = _prepared(sample[None], recipe, spec, sole)[0]
    return result


def spec_of(inputs: Sequence[InputSpec], name: str | None, index: int) -> InputSpec | None:
    """What the model declares for an array: by its name, else by its place."""
    if name is not None:
        return next((spec for spec in inputs if spec.name == name), None)
    return inputs[index] if index < len(inputs) else None


def resolve_names(names: Sequence[str | None], inputs: Sequence[InputSpec], source: str) -> tuple[str, ...] | None:
    """The input name of each array, None to feed by position. Raises where one is missing, doubled or half named."""
    known = [name for name in names if name is not None]
    if inputs and len(names) > len(inputs):
        raise InputError(_misfit(source, inputs, names))
    if known and len(known) < len(names):
        raise UsageError("some of the data is for a named input and some is not: write --data NAME=... for each")
    if len(set(known)) < len(known):
        raise UsageError(f"an input is given twice: {', '.join(known)}")
    wanted = [spec.name for spec in inputs]
    if not wanted:
        return tuple(known) or None
    missing = [name for name in wanted if name not in known] if known else wanted[len(names) :]
    if missing:
        raise InputError(f"{_misfit(source, inputs, names)}; missing: {', '.join(missing)}")
    return tuple(known) or tuple(wanted)


def _fit(
    feed: Feed, array: Array, spec: InputSpec | None, recipe: Recipe | None, layout: Layout | None, sole: bool
) -> Array:
    """One array as the model takes it. What user code yields is converted only as the user asks."""
    if feed.kind == "random":
        return array
    if feed.kind == "code" and recipe is None:
        ready = array if spec is None else cast(_same_kind(array, spec, feed.source), spec)
    else:
        ready = prepare(array, recipe_for(array.shape, array.dtype, recipe, spec, sole=sole), spec, layout)
    if spec:
        check_shape(ready, spec, feed.source)
    return ready


def _same_kind(array: Array, spec: InputSpec, source: str) -> Array:
    target = numpy_dtype(spec.dtype)
    if target is not None and target.kind == "f" and array.dtype.kind != "f":
        raise InputError(
            f"{source}: input {spec.name!r} takes {target}, the batches are {array.dtype}: "
            "convert them in your code or give --preprocess"
        )
    return array


def _misfit(source: str, inputs: Sequence[InputSpec], names: Sequence[str | None]) -> str:
    wanted = ", ".join(spec.name for spec in inputs)
    takes = "1 input" if len(inputs) == 1 else f"{len(inputs)} inputs"
    return f"{source}: the model takes {takes} ({wanted}), the data gives {len(names)}"


def _names(feed: Feed, part: Batch) -> Sequence[str | None]:
    if part.names:
        return part.names
    return [fact.name for fact in feed.facts] if feed.facts else [None] * len(part.arrays)


def _uneven(feeds: Sequence[Feed], parts: Sequence[Batch | None]) -> str:
    sizes = ", ".join(f"{f.source}: {part.size if part else 'ended'}" for f, part in zip(feeds, parts, strict=True))
    return f"the inputs come in batches of different sizes ({sizes}); set --batch-size to that of the code"
