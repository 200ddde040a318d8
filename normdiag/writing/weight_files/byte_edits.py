"""A file with some of its bytes replaced by as many others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from normdiag.errors import InputError
from normdiag.writing.atomic import replacing

_BLOCK = 1 << 22


@dataclass(frozen=True, order=True)
class ByteEdit:
    """`data` stands at the byte `start` from now on."""

    start: int
    data: bytes

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.start + len(self.data)


def write_edited(data: memoryview, edits: Sequence[ByteEdit], target: Path) -> None:
    """Write the file, whole or not at all. Raises InputError where it cannot be written."""
    try:
        with replacing(target) as stream:
            for piece in edited(data, edits, 0, len(data)):
                stream.write(piece)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from None


def edited(data: memoryview, edits: Sequence[ByteEdit], start: int, end: int) -> Iterator[bytes | memoryview]:
    """The bytes of a range with the edits in it, which do not overlap and lie inside it or outside, in blocks."""
    for edit in sorted(each for each in edits if start <= each.start and each.end <= end):
        yield from _blocks(data, start, edit.start)
        yield edit.data
        start = edit.end
    yield from _blocks(data, start, end)


def _blocks(data: memoryview, start: int, end: int) -> Iterator[memoryview]:
    for at in range(start, end, _BLOCK):
        yield data[at : min(at + _BLOCK, end)]
