"""An ONNX file as it lies on disk: parsed without its large weights, which stay in the file until they are read.

To parse them costs as much as all the rest of a check, and twice their size in memory.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from normdiag.errors import InputError
from normdiag.models.onnx import wire
from normdiag.models.onnx.external import TensorReader, stamp
from normdiag.models.onnx.order import running_order
from normdiag.models.onnx.parse import check_size, parse_bytes

# Bytes. Smaller tensors are as quickly copied as looked for.
LARGE = 2**16
# float and half, of onnx.TensorProto: what is large and nothing but a weight.
_WEIGHTS = frozenset({1, 10})
# A tensor of other fields than these is not as exporters write it.
_PLAIN = frozenset(
    {wire.DIMS, wire.DATA_TYPE, wire.NAME, wire.RAW_DATA, wire.DOC_STRING, wire.DATA_LOCATION, wire.METADATA}
)
# Messages of which a model has thousands, and which hold no tensor.
_WITHOUT_TENSORS = frozenset({"ValueInfoProto", "TypeProto", "StringStringEntryProto", "OperatorSetIdProto"})


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """`proto` is the onnx.ModelProto without the values of large weights, which `reader` reads from the mapped file.

    `layers` are the byte ranges of its fields, None where the file is not laid out as protobuf does it itself: then
    `proto` is complete. Nodes are in an order in which they can run, whatever theirs in the file. `stream` stays open
    as long as `reader` is there, so that the file may be replaced meanwhile.
    """

    proto: Any
    reader: TensorReader
    stream: IO[bytes]
    layers: wire.Layers | None


def open_onnx(path: Path) -> OnnxFile:
    """Open and parse an ONNX file; its local functions stay as they are. External data is checked but not read.

    Raises InputError where the file cannot be read, is damaged or incomplete, or points outside its folder.
    """
    with ExitStack() as stack:
        stream = stack.enter_context(_opened(path))
        opened, data = stamp(os.fstat(stream.fileno())), _mapped(stream, path)
        layers = _layers(data)
        light = _light(data, layers, path) if layers is not None else None
        proto, embedded = light or (parse_bytes(data, path), {})
        reader = TensorReader(path, embedded=embedded, stream=stream, opened=opened)
        weakref.finalize(reader, stack.pop_all().close)
    for tensor in tensors_of(proto):
        reader.check(tensor)
    return OnnxFile(proto, reader, stream, _in_order(proto, layers if layers and _describes(layers, proto) else None))


def tensors_of(message: Any) -> Iterator[Any]:
    """Every onnx.TensorProto in a protobuf message of a model, wherever it stands."""
    if message.DESCRIPTOR.full_name == "onnx.TensorProto":
        yield message
        return
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None and descriptor.message_type.name not in _WITHOUT_TENSORS:
            for each in value if descriptor.is_repeated else (value,):
                yield from tensors_of(each)


def _opened(path: Path) -> IO[bytes]:
    try:
        check_size(path)
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def _mapped(stream: IO[bytes], path: Path) -> memoryview:
    try:
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise InputError(f"{path}: is empty") from None


def _layers(data: memoryview) -> wire.Layers | None:
    try:
        return wire.layers(data)
    except ValueError:
        return None


def _light(data: memoryview, layers: wire.Layers, path: Path) -> tuple[Any, Mapping[str, tuple[int, int]]] | None:
    """The model without the values of large weights, and where these lie by name; None where it has to be parsed whole.

    That is a model without any, one with local functions, which are inlined by a library that must see all, and one
    where a large weight shares its name.
    """
    large = _large_weights(data, layers)
    if not large or any(field.number == wire.FUNCTIONS for field in layers.model):
        return None
    proto = parse_bytes(_without(data, layers, large), path)
    if not _describes(layers, proto):
        return None
    names = Counter(tensor.name for tensor in tensors_of(proto))
    stored = zip(_initializers(layers), proto.graph.initializer, strict=True)
    embedded = {tensor.name: (large[i].body, large[i].end - large[i].body) for i, tensor in stored if i in large}
    return (proto, embedded) if all(names[name] == 1 for name in embedded) else None


def _in_order(proto: Any, layers: wire.Layers | None) -> wire.Layers | None:
    """Bring the nodes of `proto` into an order in which they can run; the layers with theirs in the same order."""
    order = running_order(proto.graph)
    if order is None:
        return layers
    unsorted = type(proto.graph)(node=proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(unsorted.node[index] for index in order)
    if layers is None:
        return None
    fields = [each for each in layers.graph if each.number == wire.NODE]
    following = iter([fields[index] for index in order])
    return layers._replace(graph=tuple(next(following) if each.number == wire.NODE else each for each in layers.graph))


def _initializers(layers: wire.Layers) -> list[int]:
    return [place for place, field in enumerate(layers.graph) if field.number == wire.INITIALIZER]


def _large_weights(data: memoryview, layers: wire.Layers) -> dict[int, wire.Field]:
    """Where the values of large weights lie, by the place of the tensor among the graph's fields."""
    found = {place: _raw_data(data, layers.graph[place]) for place in _initializers(layers)}
    return {place: field for place, field in found.items() if field is not None}


def _raw_data(data: memoryview, tensor: wire.Field) -> wire.Field | None:
    if tensor.end - tensor.body < LARGE:
        return None
    try:
        inside = tuple(wire.fields(data, tensor.body, tensor.end))
    except ValueError:
        return None
    if not _PLAIN.issuperset(field.number for field in inside):
        return None
    raw = [field for field in inside if field.number == wire.RAW_DATA]
    types = [wire.number_in(data, field) for field in inside if field.number == wire.DATA_TYPE]
    external = any(wire.number_in(data, field) for field in inside if field.number == wire.DATA_LOCATION)
    plain = len(raw) == 1 and len(types) == 1 and types[0] in _WEIGHTS and not external
    return raw[0] if plain and raw[0].end - raw[0].body >= LARGE // 2 else None


def _without(data: memoryview, layers: wire.Layers, large: Mapping[int, wire.Field]) -> bytes:
    """The file without the fields in `large`; every message is as much shorter."""
    parts: list[bytes | memoryview] = []
    copied = wire.only_graph(layers.model).body
    for place, raw in large.items():
        tensor = layers.graph[place]
        rest = tensor.end - tensor.body - (raw.end - raw.start)
        parts += [data[copied : tensor.start], wire.header(wire.INITIALIZER, rest)]
        parts += [data[tensor.body : raw.start], data[raw.end : tensor.end]]
        copied = tensor.end
    graph = wire.only_graph(layers.model)
    parts.append(data[copied : graph.end])
    size = sum(len(part) for part in parts)
    return b"".join((data[: graph.start], wire.header(wire.GRAPH, size), *parts, data[graph.end :]))


def _describes(layers: wire.Layers, proto: Any) -> bool:
    """Whether protobuf found as many nodes and tensors as there are fields."""
    graph = proto.graph
    counts = Counter(field.number for field in layers.graph)
    pairs = ((wire.NODE, graph.node), (wire.INITIALIZER, graph.initializer), (wire.INPUT, graph.input))
    return all(counts[number] == len(part) for number, part in pairs)
