"""The header of a GGUF file, by hand: the gguf package makes an array of each element of each list in it.

A file of 2 MB that claims nothing false took that package 1.4 GB and a minute, lists in lists end its recursion, and it
brings requests along; what is needed of the format is below. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from normdiag.errors import InputError
from normdiag.models.static.inert import MalformedError, shown
from normdiag.models.static.source import ByteSource

ALIGNMENT_KEY = "general.alignment"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
# struct's characters for the scalar types of values.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# Far more than any model has: what a file may cost is settled by these, since each entry is a step in Python.
_MAX_KEYS, _MAX_TENSORS, _MAX_STRINGS = 100_000, 100_000, 1 << 22
_MAX_NAME, _MAX_DIMENSIONS = 4096, 4

Scalar = int | float | bool


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as declared: sizes from the slowest axis to the fastest, ggml's type, bytes from where data start."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int


@dataclass(frozen=True, eq=False)
class GgufHeader:
    """The numbers of the metadata by key, the tensors, and where their data begin; texts and lists are passed over."""

    numbers: Mapping[str, Scalar]
    tensors: tuple[TensorInfo, ...]
    data: int
    swapped: bool


def read_header(source: ByteSource) -> GgufHeader:
    """Read it. Raises InputError for a file that is truncated or of another version, MalformedError for nonsense."""
    version = int.from_bytes(source.data[4:8], "little")
    swapped = version & 0xFFFF == 0 and version != 0
    cursor = _Cursor(source, ">" if swapped else "<", 4)
    version = int(cursor.numbers("I")[0])
    if version not in _VERSIONS:
        older = "convert the model again with a newer llama.cpp" if version == 1 else "versions 2 and 3 are read"
        raise InputError(f"{source.name}: is a GGUF file of version {version}: {older}")
    tensors, keys = cursor.numbers("QQ")
    if keys > _MAX_KEYS or tensors > _MAX_TENSORS:
        raise MalformedError(f"its header claims {keys} keys and {tensors} tensors")
    numbers = _numbers(cursor, int(keys))
    found = tuple(_tensor_info(cursor) for _ in range(int(tensors)))
    if len({each.name for each in found}) < len(found):
        raise MalformedError("two of its tensors have one name")
    alignment = numbers.get(ALIGNMENT_KEY, 32)
    if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
        raise MalformedError(f"its alignment of {alignment} is no power of two")
    return GgufHeader(numbers, found, -(-cursor.position // alignment) * alignment, swapped)


class _Cursor:
    """A place in the file, which moves over what it reads, and how many strings it may still pass over."""

    def __init__(self, source: ByteSource, order: str, position: int) -> None:
        """Begin at `position`; numbers have the byte order `order`."""
        self._source = source
        self._order = order
        self.position = position
        self._strings = _MAX_STRINGS

    def numbers(self, code: str) -> tuple[Scalar, ...]:
        """Numbers by struct's characters."""
        start = self.position
        self.skip(struct.calcsize(self._order + code))
        return struct.unpack_from(self._order + code, self._source.data, start)

    def text(self) -> str:
        """A name: UTF-8 with its length before it."""
        (length,) = self.numbers("Q")
        if length > _MAX_NAME:
            raise MalformedError(f"a name in its header has {length} bytes")
        start = self.position
        self.skip(int(length))
        try:
            return bytes(self._source.data[start : self.position]).decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedError("a name in its header is not UTF-8") from None

    def skip(self, size: int) -> None:
        """Move on. Raises InputError where the file ends before."""
        self.position += size
        if self.position > len(self._source.data):
            raise InputError(f"{self._source.name}: the file is truncated: it ends within its header")

    def skip_string(self) -> None:
        """Move over a string of any length."""
        self._strings -= 1
        if self._strings < 0:
            raise MalformedError(f"its header holds more than {_MAX_STRINGS} strings")
        self.skip(int(self.numbers("Q")[0]))

    def skip_array(self) -> None:
        """Move over an array of numbers or strings."""
        kind, count = self.numbers("IQ")
        if kind == _STRING:
            for _ in range(min(int(count), _MAX_STRINGS + 1)):
                self.skip_string()
        elif kind in _SCALARS:
            self.skip(int(count) * struct.calcsize(self._order + _SCALARS[int(kind)]))
        else:
            raise MalformedError(f"its header holds an array of type {kind}")


def _numbers(cursor: _Cursor, count: int) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    keys: set[str] = set()
    for _ in range(count):
        key = cursor.text()
        if key in keys:
            raise MalformedError(f"the key '{shown(key)}' is there twice")
        keys.add(key)
        (kind,) = cursor.numbers("I")
        if kind == _STRING:
            cursor.skip_string()
        elif kind == _ARRAY:
            cursor.skip_array()
        elif kind in _SCALARS:
            (found[key],) = cursor.numbers(_SCALARS[int(kind)])
        else:
            raise MalformedError(f"the key '{shown(key)}' has a value of the unknown type {kind}")
    return found


def _tensor_info(cursor: _Cursor) -> TensorInfo:
    name = cursor.text()
    (dimensions,) = cursor.numbers("I")
    if dimensions > _MAX_DIMENSIONS:
        raise MalformedError(f"tensor '{shown(name)}' has {dimensions} dimensions")
    sizes = cursor.numbers("Q" * int(dimensions))
    kind, offset = cursor.numbers("IQ")
    return TensorInfo(name, tuple(int(size) for size in reversed(sizes)), int(kind), int(offset))
