"""The outer layers of an ONNX file as byte ranges, so that what folding does not touch is copied byte for byte.

Two levels are looked at, the fields of ModelProto and those of GraphProto, and large tensors; see
https://protobuf.dev/programming-guides/encoding for the encoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

# Fields of onnx.ModelProto and onnx.GraphProto.
GRAPH, TRAINING, FUNCTIONS = 7, 20, 25
NODE, INITIALIZER, INPUT, VALUE_INFO, ANNOTATION, SPARSE = 1, 5, 11, 13, 14, 15
# And of onnx.TensorProto.
DIMS, DATA_TYPE, NAME, RAW_DATA, DOC_STRING, DATA_LOCATION, METADATA = 1, 2, 8, 9, 12, 14, 16
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT = 10


class Field(NamedTuple):
    """One field of a message: its number, where it starts, where its content starts, where it ends."""

    number: int
    start: int
    body: int
    end: int


class Layers(NamedTuple):
    """The fields of the model and those of its graph."""

    model: tuple[Field, ...]
    graph: tuple[Field, ...]


def layers(data: Any) -> Layers:
    """Those of a whole file. Raises ValueError where the bytes are not laid out as protobuf lays them out itself."""
    model = tuple(fields(data, 0, len(data)))
    graph = only_graph(model)
    return Layers(model, tuple(fields(data, graph.body, graph.end)))


def fields(data: Any, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in data[start:end]. Raises ValueError for what is not made of plain fields."""
    while start < end:
        tag, body = _varint(data, start, end)
        kind = tag & 7
        if kind == _BYTES:
            size, body = _varint(data, body, end)
            stop = body + size
        elif kind == _VARINT:
            stop = _varint(data, body, end)[1]
        elif kind in _FIXED:
            stop = body + _FIXED[kind]
        else:
            raise ValueError("a group")
        if stop > end:
            raise ValueError("a field that is longer than its message")
        yield Field(tag >> 3, start, body, stop)
        start = stop


def number_in(data: Any, field: Field) -> int:
    """The content of a field that holds a number."""
    return _varint(data, field.body, field.end)[0]


def only_graph(model: Sequence[Field]) -> Field:
    """The graph of a model. Raises ValueError where it does not stand in one piece."""
    (graph,) = [field for field in model if field.number == GRAPH]
    return graph


def header(number: int, size: int) -> bytes:
    """What stands before the content of a message or string field."""
    return _encoded(number << 3 | _BYTES) + _encoded(size)


def _varint(data: Any, start: int, end: int) -> tuple[int, int]:
    """The number and where it ends."""
    if start < end and data[start] < 0x80:
        return data[start], start + 1
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
