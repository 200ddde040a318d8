"""What users' code yields, as batches: arrays, tensors of any framework, tuples, dicts by input name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.data.check import checked
from normdiag.data.feed import LABELS, check_facts
from normdiag.data.labels import class_numbers
from normdiag.data.order import random_order
from normdiag.data.select import choose_inputs
from normdiag.errors import InputError
from normdiag.records import Batch, BatchForm

Array = NDArray[Any]
ONE = BatchForm()


def as_batches(
    batches: Any,
    *,
    max_samples: int | None = None,
    batch_size: int = 32,
    inputs: Sequence[str] = (),
    source: str = "the data",
    seed: int | None = None,
    form: BatchForm = ONE,
) -> Iterator[Batch]:
    """Yield checked batches from what a user of the Python API passes.

    `batches` is an iterable of batches (a DataLoader, a list, a generator) in any form that `to_batch` knows, or a
    whole data set, which is cut into batches of `batch_size`, in a random order if there is a `seed`: one array or
    tensor, a dict of them by input name, or a map-style data set of single samples. Arrays keep their dtype. Raises
    InputError for anything else, for an empty iterable, and as `check_batch` does.
    """
    found = iterate(batches, batch_size=batch_size, inputs=inputs, source=source, seed=seed, form=form)
    return checked(found, source, max_samples)


def iterate(
    batches: Any,
    *,
    batch_size: int,
    inputs: Sequence[str] = (),
    source: str = "the data",
    seed: int | None = None,
    form: BatchForm = ONE,
) -> Iterator[Batch]:
    """The same batches, neither checked nor cut short."""
    for item, places in _cut(batches, batch_size, source, seed):
        batch = to_batch(item, inputs, source, form)
        yield batch if places is None else replace(batch, places=places)


def to_batch(item: Any, inputs: Sequence[str] = (), source: str = "the data", form: BatchForm = ONE) -> Batch:
    """One batch out of an array or tensor, a tuple or list that begins with the input, or a dict by input name.

    A tuple in first place, ((a, b), labels), is several inputs by position, and so are the first arrays of one, (a, b,
    labels), for a model that takes several. What detectors take: a list of images, alone or with a list of as many
    targets, or a list of dicts with an image each. From a dict the model's `inputs` are taken, or, where it names none,
    everything but labels; numbers in it hold for the whole batch. bfloat16 becomes float32. Raises InputError.
    """
    if isinstance(item, Batch):
        return item
    if isinstance(item, Mapping):
        return _named(item, inputs, source, form.others)
    if isinstance(item, tuple | list) and item:
        return _in_order(item, inputs, source, form)
    return _batch((to_array(item, source),), None, source)


def _in_order(item: Sequence[Any], inputs: Sequence[str], source: str, form: BatchForm) -> Batch:
    """A batch out of a tuple or list."""
    images, first = _images(item, form), item[0]
    if images is not None:
        return Batch((_ragged(images, source),))
    if all(isinstance(each, Mapping) for each in item):
        return _from_dicts(item, source)
    if isinstance(first, tuple | list) and all(is_array(part) for part in first):
        return _batch(tuple(to_array(part, source) for part in first), None, source, item[1:])
    if form.count > 1 and is_array(first):
        return _several(item, source, form)
    batch = to_batch(first, inputs, source)
    return batch if batch.labels is not None else replace(batch, labels=_labels(item[1:], batch.size))


def _from_dicts(samples: Sequence[Mapping[str, Any]], source: str) -> Batch:
    """Samples as dicts, each with its image among what belongs to it, as detectron2's models take them."""
    keys = [name for name, value in samples[0].items() if is_array(value) and len(value.shape) == 3]
    key = "image" if "image" in keys else keys[0] if len(keys) == 1 else None
    if key is None or not all(is_array(each.get(key)) for each in samples):
        raise InputError(
            f"{source}: a list of dicts, of which each holds one image (C, H, W), or one under 'image', is what "
            f"detectors take; here the first holds {', '.join(map(str, samples[0])) or 'nothing'}"
        )
    return Batch((_ragged([each[key] for each in samples], source),), sample_key=str(key))


def _named(item: Mapping[Any, Any], inputs: Sequence[str], source: str, others: Sequence[str]) -> Batch:
    """A batch by input name; what has no samples in it holds for all of them."""
    numbers = {str(name): value for name, value in item.items() if _is_number(value) or name in others}
    arrays = {str(name): value for name, value in item.items() if is_array(value) and str(name) not in numbers}
    wanted = [name for name in inputs if name not in numbers]
    chosen = choose_inputs(f"a batch of {source}", {name: _describe(a) for name, a in arrays.items()}, wanted)
    names = tuple(target for target in chosen.values() if target)
    converted = tuple(to_array(arrays[name], source) for name in chosen)
    beside = [value for name, value in arrays.items() if name not in chosen and name.lower() in LABELS]
    batch = _batch(converted, names if len(names) == len(converted) else None, source, beside)
    fixed = {name: to_array(value) if is_array(value) else value for name, value in numbers.items()}
    return replace(batch, fixed={name: value for name, value in fixed.items() if name.lower() not in LABELS})


def _several(item: Sequence[Any], source: str, form: BatchForm) -> Batch:
    """The first arrays of a tuple, for a model that takes several."""
    arrays = [each for each in item[: form.count] if is_array(each)]
    if len(arrays) < form.count:
        called = ", ".join(form.names) or f"{form.count} arrays"
        raise InputError(
            f"{source}: the model takes {form.count} inputs ({called}), and a batch gives {len(arrays)}: yield "
            f"(({', '.join(form.names) or 'a, b'}), labels), or a dict by input name"
        )
    return _batch(tuple(to_array(each, source) for each in arrays), None, source, item[form.count :])


def _images(item: Sequence[Any], form: BatchForm) -> Sequence[Any] | None:
    """The images of a batch for a detector: a list of (C, H, W), alone or with one target, a dict, for each."""
    first, rest = item[0], item[1:]
    if _are_images(first):
        targets = rest[0] if rest else None
        listed = isinstance(targets, tuple | list) and len(targets) == len(first)
        paired = listed and all(isinstance(each, Mapping) for each in targets or ())
        return first if form.lists or paired else None
    return item if form.lists and _are_images(item) else None


def _are_images(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(is_array(each) and len(each.shape) == 3 for each in value)


def _ragged(samples: Sequence[Any], source: str) -> Array:
    """An array of objects (N,): one array for each sample."""
    found = np.empty(len(samples), object)
    for index, each in enumerate(samples):
        array = to_array(each, source)
        check_facts(f"sample {index} of a batch of {source}", array.shape, array.dtype)
        found[index] = array
    return found


def _is_number(value: Any) -> bool:
    """A number of Python, or an array or tensor of one value without axes."""
    return isinstance(value, int | float) or (is_array(value) and len(getattr(value, "shape", "?")) == 0)


def is_array(value: Any) -> bool:
    """Whether `to_array` knows how to make an array of it: numpy's own, a torch tensor, anything with __array__."""
    return isinstance(value, np.ndarray) or hasattr(value, "__array__")


def to_array(value: Any, source: str = "the data") -> Array:
    """A numpy array that shares the value's memory where it can. Raises InputError where it is no array."""
    if not is_array(value):
        raise InputError(f"{source} yields {type(value).__name__}: an array, a tensor, a tuple or a dict is needed")
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            if str(value.dtype) == "torch.bfloat16" or "float8" in str(value.dtype):
                value = value.float()
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{source} yields a {type(value).__name__} that numpy cannot hold: {error}") from error
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _batch(arrays: tuple[Array, ...], names: tuple[str, ...] | None, source: str, beside: Sequence[Any] = ()) -> Batch:
    """A batch, once it is sure that it has a sample axis; `beside` is what may be its labels."""
    for array in arrays:
        check_facts(f"a batch of {source}", array.shape, array.dtype)
    return Batch(arrays, names, _labels(beside, len(arrays[0])))


def _labels(beside: Sequence[Any], samples: int) -> Array | None:
    """The first of these if it is one whole number for each sample."""
    first = beside[0] if beside and is_array(beside[0]) else None
    return None if first is None or not _is_plain(first) else class_numbers(to_array(first), samples)


def _is_plain(value: Any) -> bool:
    return len(getattr(value, "shape", ())) in (1, 2) and "int" in str(getattr(value, "dtype", ""))


def _cut(batches: Any, batch_size: int, source: str, seed: int | None) -> Iterator[tuple[Any, Array | None]]:
    """The user's own batches, or pieces of a whole data set and, in a random order, where they come from."""
    if isinstance(batches, Mapping):
        whole = {str(name): to_array(value, source) for name, value in batches.items() if is_array(value)}
        lengths = {_length(value) for value in whole.values()}
        for rows in _pieces(max(lengths, default=0), batch_size, seed if len(lengths) == 1 else None):
            yield {name: value[rows] for name, value in whole.items()}, _places(rows)
    elif is_array(batches):
        array = to_array(batches, source)
        for rows in _pieces(_length(array), batch_size, seed):
            yield array[rows], _places(rows)
    elif isinstance(batches, Iterable) and not isinstance(batches, str | bytes):
        yield from ((item, None) for item in batches)
    elif hasattr(batches, "__getitem__") and hasattr(batches, "__len__") and not isinstance(batches, str | bytes):
        for rows in _pieces(len(batches), batch_size, seed):
            samples = [batches[int(row)] for row in np.arange(len(batches))[rows]]
            yield _stacked(samples, source), _places(rows)
    else:
        raise InputError(f"{source} is a {type(batches).__name__}, not an iterable of batches")


def _pieces(total: int, size: int, seed: int | None) -> Iterator[slice | Array]:
    """The rows of each batch: slices, which copy nothing, or indexes in a random order."""
    order = None if seed is None else random_order(total, seed)
    for start in range(0, total, size):
        piece = slice(start, start + size)
        yield piece if order is None else order[piece]


def _places(rows: slice | Array) -> Array | None:
    return None if isinstance(rows, slice) else rows


def _stacked(samples: Sequence[Any], source: str) -> Any:
    """Samples of a map-style data set as one batch of their form. Raises InputError where they do not go together."""
    first = samples[0]
    if isinstance(first, Mapping):
        return {name: _stacked([sample[name] for sample in samples], source) for name in first}
    if isinstance(first, tuple | list):
        return tuple(_stacked([sample[index] for sample in samples], source) for index in range(len(first)))
    if not is_array(first) and not isinstance(first, int | float):
        raise InputError(
            f"{source} holds samples of type {type(first).__name__}: arrays or tensors are needed (of images, give the "
            "data set a transform that makes tensors)"
        )
    try:
        return np.stack([np.asarray(each) if isinstance(each, int | float) else to_array(each) for each in samples])
    except ValueError as error:
        raise InputError(f"{source} holds samples of different shapes: {error}") from error


def _length(value: Any) -> int:
    shape = tuple(value.shape)
    if not shape:
        raise InputError("the data is a single number: the first axis must be the samples")
    return int(shape[0])


def _describe(value: Any) -> str:
    return f"{tuple(value.shape)} {value.dtype}" if hasattr(value, "shape") else type(value).__name__
