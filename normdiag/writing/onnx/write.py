"""Writing a patched model: data files first, under names that nobody uses, then the model file in one step.

So at any moment, also when the process is killed, the name of the model leads to the old model with the old data or to
the new one with the new data.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, count
from pathlib import Path
from typing import IO

from normdiag.errors import InputError
from normdiag.models.onnx.parse import MAX_BYTES
from normdiag.writing.atomic import publish, replacing, sync, temporary
from normdiag.writing.onnx.data_files import ByteRange, DataFile, DataPart, make_layout, merged
from normdiag.writing.onnx.original import Original
from normdiag.writing.onnx.patch import Patch, render, write_pieces
from normdiag.writing.onnx.relocate import NewPlaces, relocated
from normdiag.writing.onnx.stale import clear, data_files

_BLOCK = 2**22


def write_model(source: Original, patch: Patch, target: Path) -> tuple[str, ...]:
    """Write the patched model and its external data; returns one note for each other file that it concerns.

    Raises InputError where the model does not fit into one file, or where it cannot be written.
    """
    try:
        return _written(source, patch, target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from None


def _written(source: Original, patch: Patch, target: Path) -> tuple[str, ...]:
    files = make_layout(source, patch)
    if not files:
        _write_file(source, patch, target, lambda: None)
        return ()
    if target.is_symlink():
        raise InputError(f"{target}: is a link, and this model keeps weights in files beside it; give the real path")
    before = data_files(target)
    with ExitStack() as undo:
        written: dict[Path, DataFile] = {}
        for file in _grouped(files, target):
            path = _write_data(file, target)
            undo.callback(path.unlink, missing_ok=True)
            written[path] = file
        folder = target.parent
        places = NewPlaces([(path.relative_to(folder).as_posix(), file) for path, file in written.items()])
        _write_file(source, relocated(source, patch, places), target, undo.pop_all)
    return (*(_named(path, file) for path, file in written.items()), *clear(before - written.keys(), source, target))


def _write_file(source: Original, patch: Patch, target: Path, settle: Callable[[], object]) -> None:
    """`settle` is called last before the target gets its name: from then on its data files must stay."""
    pieces = render(source, patch)
    size = sum(piece.size for piece in pieces)
    if size > MAX_BYTES:
        raise InputError(
            f"{source.path}: the result would take {size} bytes, more than the 2 GiB that an ONNX file can hold; save "
            "the model with external data first (onnx.save_model(..., save_as_external_data=True)) and take that"
        )

    def last() -> None:
        source.reader.check_unchanged()  # what was read is what is written
        settle()

    with replacing(target, last) as stream:
        write_pieces(pieces, stream)


def _grouped(files: Sequence[DataFile], target: Path) -> list[DataFile]:
    """Files that can have their old name beside the target, and in one file all that cannot."""
    free: list[DataFile] = []
    taken: list[DataFile] = []
    for file in files:
        (free if _is_free(file.locations[0], target) else taken).append(file)
    return [*free, merged(taken)] if taken else free


def _is_free(location: str, target: Path) -> bool:
    path = target.parent / location
    inside = path.resolve().is_relative_to(target.parent.resolve())
    return inside and not os.path.lexists(path) and path.resolve() != target.resolve()


def _names(file: DataFile, target: Path) -> Iterator[Path]:
    if len(file.locations) == 1 and _is_free(file.locations[0], target):
        yield target.parent / file.locations[0]
    yield target.with_name(f"{target.name}.data")
    yield from (target.with_name(f"{target.name}.{number}.data") for number in count(1))


def _write_data(file: DataFile, target: Path) -> Path:
    names = _names(file, target)
    with temporary(target) as path:
        with path.open("r+b") as stream, ExitStack() as opened:
            sources: dict[Path, IO[bytes]] = {}
            for part in file.parts:
                if isinstance(part.content, ByteRange) and part.content.file not in sources:
                    sources[part.content.file] = opened.enter_context(part.content.file.open("rb"))
                _write_part(part, sources, stream)
            sync(stream)
        first = next(names)
        first.parent.mkdir(parents=True, exist_ok=True)
        return publish(path, chain((first,), names))


def _write_part(part: DataPart, sources: Mapping[Path, IO[bytes]], stream: IO[bytes]) -> None:
    if isinstance(part.content, ByteRange):
        copy_range(sources[part.content.file], part.content, stream, part.offset)
    else:
        stream.seek(part.offset)
        for piece in part.content.raw():
            stream.write(piece)
        stream.flush()


def copy_range(source: IO[bytes], wanted: ByteRange, stream: IO[bytes], offset: int) -> None:
    """Copy bytes from file to file in the kernel where it can do that, else in blocks."""
    start = wanted.start
    while start < wanted.end:
        try:
            done = os.copy_file_range(source.fileno(), stream.fileno(), wanted.end - start, start, offset)
        except (OSError, AttributeError):
            source.seek(start)
            stream.seek(offset)
            done = stream.write(source.read(min(_BLOCK, wanted.end - start)))
            stream.flush()
        if not done:
            raise InputError(f"{wanted.file}: became shorter while it was being read")
        start, offset = start + done, offset + done


def _named(path: Path, file: DataFile) -> str:
    size = max((part.offset + part.size for part in file.parts), default=0)
    return f"its weights are in {path.name} ({size:,} bytes), which must stay beside it"
