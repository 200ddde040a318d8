"""The outer layers of an ONNX file as byte ranges, so that what folding does not touch is copied byte for byte.

Two levels are looked at, the fields of ModelProto and those of GraphProto, and where raw data lie in a tensor; see
https://protobuf.dev/programming-guides/encoding for the encoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# Fields of onnx.ModelProto and onnx.GraphProto.
GRAPH, TRAINING, FUNCTIONS = 7, 20, 25
NODE, INITIALIZER, INPUT, VALUE_INFO, ANNOTATION, SPARSE = 1, 5, 11, 13, 14, 15
# And of onnx.TensorProto.
RAW_DATA = 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT = 10


@dataclass(frozen=True)
class Field:
    """One field of a message: its number, where it starts, where its content starts, where it ends."""

    number: int
    start: int
    body: int
    end: int


def fields(data: Any, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in data[start:end]. Raises ValueError for what is not made of plain fields."""
    while start < end:
        tag, body = _varint(data, start, end)
        stop = _field_end(data, tag & 7, body, end)
        if tag & 7 == _BYTES:
            body = _varint(data, body, end)[1]
        yield Field(tag >> 3, start, body, stop)
        start = stop


def only_graph(model: Sequence[Field]) -> Field:
    """The graph of a model. Raises ValueError where it does not stand in one piece."""
    (graph,) = [field for field in model if field.number == GRAPH]
    return graph


def header(number: int, size: int) -> bytes:
    """What stands before the content of a message or string field."""
    return _encoded(number << 3 | _BYTES) + _encoded(size)


def _field_end(data: Any, kind: int, body: int, end: int) -> int:
    if kind == _VARINT:
        return _varint(data, body, end)[1]
    if kind == _BYTES:
        size, body = _varint(data, body, end)
        stop = body + size
    elif kind in _FIXED:
        stop = body + _FIXED[kind]
    else:
        raise ValueError("a group")
    if stop > end:
        raise ValueError("a field that is longer than its message")
    return stop


def _varint(data: Any, start: int, end: int) -> tuple[int, int]:
    """The number and where it ends."""
    value = 0
    for i in range(_MAX_VARINT):
        if start + i >= end:
            break
        byte = data[start + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, start + i + 1
    raise ValueError("a number without end")


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
