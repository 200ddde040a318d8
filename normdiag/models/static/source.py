"""The bytes of a model file, memory-mapped."""

from __future__ import annotations

import mmap
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.errors import InputError
from normdiag.models.static.inert import Bytes

_CHUNK = 1 << 20
_PIECE = 1 << 26


@dataclass(frozen=True, eq=False)
class ByteSource:
    """A file, or a file inside another, as read-only bytes. `name` is for messages, `path` None for inner ones.

    `imported` are the dotted names that its pickles, as far as they were read, would have imported, `beside` the bytes
    of the files that belong to it.
    """

    name: str
    data: memoryview
    path: Path | None = None
    imported: set[str] = field(default_factory=set)
    beside: int = 0

    def array(self, start: int, length: int) -> Bytes:
        """Bytes of the range as an array that shares the mapping; the caller has checked the bounds."""
        return np.frombuffer(self.data, np.uint8, length, start)

    def crc32(self, start: int, length: int) -> int:
        """CRC-32 of a range. A file is read in pieces, not through the mapping, whose pages would stay in memory."""
        crc = 0
        if self.path is None:
            return zlib.crc32(self.data[start : start + length])
        with self.path.open("rb", buffering=0) as file:
            file.seek(start)
            while length > 0 and (piece := file.read(min(_CHUNK, length))):
                crc = zlib.crc32(piece, crc)
                length -= len(piece)
        return crc


def open_source(path: Path) -> ByteSource:
    """Map the file at `path`. Raises InputError where it cannot be opened or is empty."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    return ByteSource(str(path), memoryview(mapped), path)


def copied(array: NDArray[Any]) -> NDArray[Any]:
    """A copy of an array over a mapped file, after which none of the pages that it was read from stay in memory.

    The system would keep them as long as there is room; they count as this process's memory all the same.
    """
    result = np.empty(array.shape, array.dtype)
    rows = max(_PIECE // max(array[:1].nbytes, 1), 1) if array.ndim else 1
    for start in range(0, len(array) if array.ndim else 1, rows):
        piece = slice(start, start + rows) if array.ndim else ...
        result[piece] = array[piece]
        release(array)
    return result


def release(array: NDArray[Any]) -> None:
    """Let go of the pages of the mapped file that an array lies in; what is asked for again is read again."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    mapped = base.obj if isinstance(base, memoryview) else base
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # Windows has none
        mapped.madvise(mmap.MADV_DONTNEED)


class SourceReader:
    """A file-like view of a ByteSource from `position` on, for pickletools: read, readline and tell, without copies."""

    def __init__(self, source: ByteSource, position: int = 0) -> None:
        """Begin at `position`, which must lie in the source."""
        self._data = source.data
        self._position = position

    def read(self, size: int) -> bytes:
        """At most `size` bytes."""
        piece = bytes(self._data[self._position : self._position + max(size, 0)])
        self._position += len(piece)
        return piece

    def readline(self) -> bytes:
        """The bytes up to and with the next newline, or to the end."""
        start = end = self._position
        while end < len(self._data):
            piece = bytes(self._data[end : end + 256])
            newline = piece.find(b"\n")
            if newline >= 0:
                end += newline + 1
                break
            end += len(piece)
        return self.read(end - start)

    def tell(self) -> int:
        """The position in the source."""
        return self._position
