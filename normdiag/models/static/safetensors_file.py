"""safetensors, by hand: 60 lines against a library whose NumPy side copies every tensor and lacks some dtypes.

The format: a little-endian u64 header length, the header as JSON, then the tensors' bytes without gaps.
"""

from __future__ import annotations

import math
import sys
from functools import partial
from typing import Any

from normdiag.errors import InputError
from normdiag.models.static.dtypes import SAFETENSORS_DTYPES, itemsize
from normdiag.models.static.inert import MalformedError, Storage, TensorRef, shown
from normdiag.models.static.json_text import parse_json
from normdiag.models.static.source import ByteSource


def safetensors_object(source: ByteSource) -> dict[str, TensorRef]:
    """The tensors by name, in the order of their bytes. Raises InputError or MalformedError for impossible headers.

    Tensors of four- and six-bit floats, which no array can hold, are left out.
    """
    header, start = _header(source)
    entries = {name: _entry(name, entry) for name, entry in header.items() if name != "__metadata__"}
    _check_layout(source, start, entries)
    ordered = sorted(entries.items(), key=lambda item: item[1][2:])
    return {
        name: _tensor(source, dtype, shape, start + begin, end - begin)
        for name, (dtype, shape, begin, end) in ordered
        if dtype is not None
    }


def safetensors_metadata(source: ByteSource) -> dict[str, Any]:
    """What whoever wrote the file put beside its tensors. Raises as `safetensors_object` does."""
    found = _header(source)[0].get("__metadata__")
    return found if isinstance(found, dict) else {}


def _header(source: ByteSource) -> tuple[dict[str, Any], int]:
    """The header, and where the bytes of the tensors begin."""
    length = int.from_bytes(source.data[:8], "little")
    start = 8 + length
    if start > len(source.data):
        raise InputError(f"{source.name}: the file is truncated: its header alone has {length} bytes")
    return parse_json(source.data[8:start], "the safetensors header"), start


_Entry = tuple[str | None, tuple[int, ...], int, int]


def _entry(name: str, entry: Any) -> _Entry:
    fields: dict[str, Any] = entry if isinstance(entry, dict) else {}
    shape, offsets, code = _sizes(fields.get("shape")), _sizes(fields.get("data_offsets")), fields.get("dtype")
    if shape is None or offsets is None or len(offsets) != 2 or not isinstance(code, str):
        raise MalformedError(f"tensor '{shown(name)}' has no proper dtype, shape and data_offsets")
    dtype = SAFETENSORS_DTYPES.get(code)
    if dtype is None and not code.startswith(("F4", "F6")):
        raise MalformedError(f"tensor '{shown(name)}' has the unknown dtype {shown(code)}")
    if dtype is not None and math.prod(shape) * itemsize(dtype) != offsets[1] - offsets[0]:
        raise MalformedError(f"tensor '{shown(name)}' does not have the bytes that its shape needs")
    return dtype, shape, offsets[0], offsets[1]


def _sizes(value: Any) -> tuple[int, ...] | None:
    valid = isinstance(value, list) and len(value) <= 64 and all(type(n) is int and 0 <= n < 2**62 for n in value)
    return tuple(value) if valid else None


def _check_layout(source: ByteSource, start: int, entries: dict[str, _Entry]) -> None:
    """The tensors must fill the rest of the file: no gap, no overlap, nothing missing."""
    position = 0
    for begin, end in sorted(entry[2:] for entry in entries.values()):
        if begin != position or end < begin:
            raise MalformedError("the tensors of the safetensors header overlap or leave gaps")
        position = end
    missing = start + position - len(source.data)
    if missing > 0:
        raise InputError(f"{source.name}: the file is truncated: {missing} bytes of weights are missing")
    if missing < 0:
        raise MalformedError(f"{-missing} bytes follow the last tensor")


def _tensor(source: ByteSource, dtype: str, shape: tuple[int, ...], start: int, nbytes: int) -> TensorRef:
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    storage = Storage("", dtype, nbytes, partial(source.array, start, nbytes), sys.byteorder != "little")
    return TensorRef(storage, dtype, 0, shape, strides)
