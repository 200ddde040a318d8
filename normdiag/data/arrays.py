"""Arrays in .npy, .npz and IDX files, read row by row: memory does not grow with the file, and nothing is unpickled."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from normdiag.data.feed import check_batch_bytes, check_facts, count_bytes, reading
from normdiag.errors import InputError

Array = NDArray[Any]
Opener = Callable[[], AbstractContextManager[IO[bytes]]]

# What the zip and gzip readers raise for damaged, encrypted or unsupported content, besides OSError and ValueError.
_ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, NotImplementedError, struct.error)

_MAX_HEADER = 10_000  # numpy's own limit for a header that ast.literal_eval may see
_MAX_DEFLATE = 1032  # the largest ratio that deflate can reach
_PIECE = 1 << 20
_LOADED = 1 << 30  # an array up to this many bytes is loaded to be read in another order, if it cannot be mapped
_IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_IDX_MARKS = tuple(bytes([kind]) for kind in _IDX_TYPES)


@dataclass(frozen=True)
class Header:
    """Shape and dtype of a stored array, and the offset of its first byte."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    fortran: bool = False


@dataclass(frozen=True)
class StoredArray:
    """A stored array. `open` gives its bytes from the header on; `path` is set where they are a plain file's."""

    label: str
    header: Header
    open: Opener
    path: Path | None = None

    def rows(self, batch_size: int) -> Iterator[Array]:
        """Yield arrays of at most `batch_size` rows, in order. Raises InputError for damage and giant batches."""
        shape, dtype = self.header.shape, self.header.dtype
        check_facts(self.label, shape, dtype)
        if self.header.fortran and len(shape) > 1:
            yield from self._fortran_rows(batch_size)
            return
        check_batch_bytes(self.label, shape, dtype, batch_size)
        with reading(self.label, *_ARCHIVE_ERRORS), self.open() as file:
            _skip(file, self.header.offset)
            for start in range(0, shape[0], batch_size):
                out: Array = np.empty((min(batch_size, shape[0] - start), *shape[1:]), dtype)
                _fill(file, out)
                yield out
            file.read(1)  # at the end of a zip member this checks its CRC

    def indexed(self) -> Callable[[], Array] | None:
        """What gives the whole array to be indexed, mapped or read at the first call; None where it is too large."""
        shape, dtype, offset = self.header.shape, self.header.dtype, self.header.offset
        if self.path is None and count_bytes(shape, dtype) > _LOADED:
            return None

        @cache
        def whole() -> Array:
            check_facts(self.label, shape, dtype)
            if self.path is None:
                return next(self.rows(shape[0]))
            with reading(self.label):
                return np.memmap(self.path, dtype, "r", offset, shape, order="F" if self.header.fortran else "C")

        return whole

    def _fortran_rows(self, batch_size: int) -> Iterator[Array]:
        """In column order a row is spread over the whole array: map a plain file, load anything else at once."""
        shape, dtype, offset = self.header.shape, self.header.dtype, self.header.offset
        with reading(self.label, *_ARCHIVE_ERRORS):
            if self.path:
                array: Array = np.memmap(self.path, dtype, "r", offset, shape, order="F")
            else:
                check_batch_bytes(self.label, shape, dtype, shape[0])
                flat = np.empty(count_bytes(shape, dtype) // dtype.itemsize, dtype)
                with self.open() as file:
                    _skip(file, offset)
                    _fill(file, flat)
                array = flat.reshape(shape, order="F")
        for start in range(0, shape[0], batch_size):
            yield np.ascontiguousarray(array[start : start + batch_size])


def npy_table(path: Path) -> StoredArray:
    """The array of a .npy file. Raises InputError for a damaged header or a file shorter than it claims."""
    label = str(path)
    with reading(label), path.open("rb") as file:
        header = read_npy_header(file, label)
        _check_length(label, header, path.stat().st_size)
    return StoredArray(label, header, lambda: path.open("rb"), path)


def npz_tables(path: Path) -> Mapping[str, StoredArray]:
    """The arrays of a .npz file by name, stored or compressed. Raises InputError for a damaged archive."""
    with reading(str(path), *_ARCHIVE_ERRORS), zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        return {member.filename[:-4]: _npz_table(path, archive, member) for member in members}


def is_idx(start: bytes) -> bool:
    """Whether a file with these first bytes is gzipped or an IDX file (two zeros, a type, a rank of at least 1)."""
    return start[:2] == b"\x1f\x8b" or (start[:2] == b"\0\0" and start[2:3] in _IDX_MARKS and start[3:4] > b"\0")


def idx_table(path: Path) -> StoredArray:
    """The array of an IDX file, the format of MNIST (yann.lecun.com/exdb/mnist), plain or gzipped."""
    label = str(path)
    with reading(label), path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"

    @contextmanager
    def opened() -> Iterator[IO[bytes]]:
        with path.open("rb") as raw:
            yield gzip.GzipFile(fileobj=raw) if zipped else raw  # type: ignore[misc]

    with reading(label, *_ARCHIVE_ERRORS), opened() as file:
        header = _read_idx_header(file, label)
        _check_length(label, header, path.stat().st_size * (_MAX_DEFLATE if zipped else 1))
    return StoredArray(label, header, opened)


def read_npy_header(file: IO[bytes], label: str) -> Header:
    """Parse the header of a .npy file or member (format 1.0 or 2.0). Raises InputError, never unpickles."""
    try:
        version = npy_format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise InputError(f"{label}: .npy format {version[0]}.{version[1]} is not one for plain numeric arrays")
        width, parse = (2, npy_format.read_array_header_1_0) if version == (1, 0) else _NPY_2
        prefix = file.read(width)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < width or length > _MAX_HEADER:
            raise InputError(f"{label}: the .npy header is damaged")
        shape, fortran, dtype = parse(io.BytesIO(prefix + file.read(length)))
    except (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError, TokenError) as error:
        raise InputError(f"{label}: the .npy header is damaged ({_reason(error)})") from error
    if any(type(n) is not int or n < 0 for n in shape):
        raise InputError(f"{label}: the .npy header claims the shape {shape}")
    return Header(shape, dtype, 8 + width + length, fortran)


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


_NPY_2 = (4, npy_format.read_array_header_2_0)


def _npz_table(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> StoredArray:
    label = f"array {member.filename[:-4]!r} of {path}"
    with archive.open(member) as file:
        header = read_npy_header(file, label)
    # The directory's sizes are claims too: what is really there bounds them, before anything is allocated.
    most = path.stat().st_size * (1 if member.compress_type == zipfile.ZIP_STORED else _MAX_DEFLATE)
    known = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    _check_length(label, header, min(member.file_size, most) if known else member.file_size)
    return StoredArray(label, header, lambda: _open_member(path, member.filename))


@contextmanager
def _open_member(path: Path, name: str) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as archive, archive.open(name) as file:
        yield file


def _read_idx_header(file: IO[bytes], label: str) -> Header:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES:
        raise InputError(f"{label} is not an IDX file")
    rank = magic[3]
    return Header(struct.unpack(f">{rank}I", file.read(4 * rank)), np.dtype(_IDX_TYPES[magic[2]]), 4 + 4 * rank)


def _check_length(label: str, header: Header, available: int) -> None:
    needed = count_bytes(header.shape, header.dtype)
    if header.offset + needed > available and not header.dtype.hasobject:
        raise InputError(
            f"{label} is truncated: its header claims the shape {header.shape} of {header.dtype}, "
            f"{needed} bytes, and at most {max(available - header.offset, 0)} are there"
        )


def _skip(file: IO[bytes], count: int) -> None:
    if len(file.read(count)) < count:
        raise EOFError("it ends inside its header")


def _fill(file: IO[bytes], out: Array) -> None:
    """Read exactly the bytes of `out`, a piece at a time (readinto of a zip member copies what it is asked for)."""
    target = out.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(target):
        piece = file.read(min(_PIECE, len(target) - done))
        if not piece:
            raise EOFError("it is truncated")
        target[done : done + len(piece)] = piece
        done += len(piece)
