"""A feed for each kind of file, told by its first bytes."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from normdiag.data.arrays import StoredArray, idx_table, is_idx, npy_table, npz_tables
from normdiag.data.audio import audio_feed, is_audio, windows_of
from normdiag.data.csv_files import csv_feed, is_csv
from normdiag.data.feed import ArrayFacts, Feed, check_batch_bytes, check_facts, reading, release_pages
from normdiag.data.folders import list_files, natural
from normdiag.data.images import Decoding, image_feed, is_image
from normdiag.data.labels import are_labels, class_numbers
from normdiag.data.order import take
from normdiag.data.preprocess import numpy_dtype
from normdiag.data.select import choose
from normdiag.data.specs import Spec, exists
from normdiag.errors import InputError
from normdiag.records import Batch, InputSpec


def file_feed(
    spec: Spec, wanted: Sequence[str], decoding: Decoding, sole: InputSpec | None = None, given: InputSpec | None = None
) -> Feed:
    """A feed of the file, folder or glob that `spec` means.

    `sole` is what the model declares of the one input that it is for, `given` the shape of it that the user gives: they
    say how recordings are cut. Raises InputError for what is not data.
    """
    paths = files_of(spec)
    if is_audio(paths[0]):
        return audio_feed(spec.text, paths, windows_of(sole, given), spec.name)
    if len(paths) > 1 or is_image(paths[0]):
        return _renamed(image_feed(spec.text, paths, decoding), spec.name)
    path = paths[0]
    if is_csv(path):
        dtype = numpy_dtype(sole.dtype) if sole is not None else None
        return csv_feed(spec.text, path, spec.name, integers=dtype is not None and dtype.kind in "biu")
    return _array_feed(spec, path, wanted)


def _array_feed(spec: Spec, path: Path, wanted: Sequence[str]) -> Feed:
    """Arrays and tensors, whatever the file is called."""
    start = _first_bytes(path)
    if start.startswith(b"\x93NUMPY"):
        return _table_feed(spec, {"": npy_table(path)}, wanted)
    if start.startswith(b"PK") and (tables := npz_tables(path)):
        return _table_feed(spec, tables, wanted)
    if is_idx(start):
        return _table_feed(spec, {"": idx_table(path)}, wanted)
    return _tensor_feed(spec, path, wanted)


def files_of(spec: Spec) -> list[Path]:
    """The file itself, or all images, or all recordings, of a folder or glob."""
    path = Path(spec.target)
    if spec.kind != "glob":
        if not exists(spec.target):
            hint = "; data from code is file.py:callable" if path.suffix == ".py" else ""
            raise InputError(f"there is no file or folder {spec.target[:300]!r}{hint}")
        if not path.is_dir() and not path.is_file():  # a pipe would wait for a writer, a device never end
            raise InputError(f"{path} is no regular file but a pipe, socket or device: save the data to a file first")
        return list_files(path) if path.is_dir() else [path]
    names = glob.glob(spec.target, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
    paths = natural(path for name in names if (path := Path(name)).is_file())
    if not paths:
        raise InputError(f"no file matches {spec.target}")
    kind, what = (is_audio, "recording") if is_audio(paths[0]) else (is_image, "image")
    odd = [path for path in paths if not kind(path)]
    if odd and len(paths) > 1:
        message = f"{spec.target} matches {odd[0]}, which is no {what}"
        raise InputError(f"{message}: a glob of several files is for images, or for recordings")
    return paths


def _first_bytes(path: Path) -> bytes:
    if path.suffix == ".py":
        raise InputError(f"{path} is code: say which callable gives the batches, as {path}:name")
    with reading(str(path)), path.open("rb") as file:
        start = file.read(8)
    if not start:
        raise InputError(f"{path} is empty")
    return start


def _table_feed(spec: Spec, tables: Mapping[str, StoredArray], wanted: Sequence[str]) -> Feed:
    described = {name: f"{table.header.shape} {table.header.dtype}" for name, table in tables.items()}
    chosen = choose(spec.target, described, wanted, spec.name)
    used = [tables[name] for name in chosen]
    for table in used:
        check_facts(table.label, table.header.shape, table.header.dtype)
    facts = [ArrayFacts(t.header.shape, t.header.dtype, n) for t, n in zip(used, chosen.values(), strict=True)]
    beside = [t for n, t in tables.items() if n not in chosen and are_labels(n, t.header.shape, t.header.dtype, facts)]

    def read(batch_size: int) -> Iterator[Batch]:
        streams = [table.rows(batch_size) for table in (*used, *beside[:1])]
        for arrays in zip(*streams, strict=True):
            yield Batch(arrays[: len(used)], labels=class_numbers(arrays[-1]) if beside else None)

    whole = [table.indexed() for table in (*used, *beside[:1])]

    def rows(indexes: NDArray[np.int64]) -> Batch:
        for table in used:
            check_batch_bytes(table.label, table.header.shape, table.header.dtype, len(indexes))
        found = [take(array(), indexes) for array in whole if array is not None]
        return Batch(tuple(found[: len(used)]), labels=class_numbers(found[-1]) if beside else None)

    can = rows if None not in whole else None
    return Feed(spec.text, "arrays", read, _same_length(spec.target, facts), can)


def _tensor_feed(spec: Spec, path: Path, wanted: Sequence[str]) -> Feed:
    """safetensors and torch files, through the static reader: memory mapped where it can be, and no code is run."""
    from normdiag.models.sniff import sniff
    from normdiag.models.static import read_tensors

    try:
        sniff(path)
    except InputError as error:
        raise InputError(
            f"{error}; data is .npy, .npz, .csv, .wav, .safetensors, a torch file, images or file.py:callable"
        ) from error
    tensors = read_tensors(path)
    described = {name: f"{array.shape} {array.dtype}" for name, array in tensors.items()}
    chosen = choose(spec.target, described, wanted, spec.name)
    arrays = [tensors[name] for name in chosen]
    facts = [ArrayFacts(a.shape, a.dtype, n) for a, n in zip(arrays, chosen.values(), strict=True)]
    for name, fact in zip(chosen, facts, strict=True):
        check_facts(f"tensor {name!r} of {path}" if name else str(path), fact.shape, fact.dtype)

    beside = [each for n, each in tensors.items() if n not in chosen and are_labels(n, each.shape, each.dtype, facts)]

    def read(batch_size: int) -> Iterator[Batch]:
        for fact in facts:
            check_batch_bytes(spec.target, fact.shape, fact.dtype, batch_size)
        for start in range(0, facts[0].shape[0], batch_size):
            rows = slice(start, start + batch_size)
            labels = class_numbers(beside[0][rows]) if beside else None
            yield Batch(tuple(np.ascontiguousarray(array[rows]) for array in arrays), labels=labels)
            for array in arrays:
                release_pages(array)

    def rows(indexes: NDArray[np.int64]) -> Batch:
        for fact in facts:
            check_batch_bytes(spec.target, fact.shape, fact.dtype, len(indexes))
        labels = class_numbers(beside[0][indexes]) if beside else None
        return Batch(tuple(take(array, indexes) for array in arrays), labels=labels)

    return Feed(spec.text, "arrays", read, _same_length(spec.target, facts), rows)


def _same_length(label: str, facts: Sequence[ArrayFacts]) -> tuple[ArrayFacts, ...]:
    if len({fact.shape[0] for fact in facts}) > 1:
        listed = ", ".join(f"{fact.name}: {fact.shape[0]}" for fact in facts)
        raise InputError(f"the inputs in {label} differ in their number of samples ({listed})")
    return tuple(facts)


def _renamed(feed: Feed, name: str | None) -> Feed:
    facts = tuple(ArrayFacts(fact.shape, fact.dtype, name) for fact in feed.facts or ())
    return replace(feed, facts=facts)
