"""The ONNX file as it is: parsed once, and open until the folded model is written, so that both may have one name."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from normdiag.errors import InputError
from normdiag.folding.onnx import wire
from normdiag.models.onnx.external import TensorReader
from normdiag.models.onnx.load import FLOATS
from normdiag.models.onnx.parse import check_names, parse_model

_BLOCK = 2**22
# Messages of which a model has thousands, and which hold no tensor.
WITHOUT_TENSORS = frozenset({"ValueInfoProto", "TypeProto", "StringStringEntryProto", "OperatorSetIdProto"})
# Smaller tensors are as quickly copied as looked for.
_LARGE = 2**16


@dataclass(frozen=True, eq=False)
class Source:
    """A model as parsed (`proto`, never changed) and as bytes: fields of the model, and of its graph.

    `stream` is where the ranges of the fields are read from.
    """

    path: Path
    proto: Any
    reader: TensorReader
    stream: IO[bytes]
    model: tuple[wire.Field, ...]
    graph: tuple[wire.Field, ...]

    def blocks(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes of a range, in blocks. Raises InputError where the file was cut meanwhile."""
        self.stream.seek(start)
        while start < end:
            block = self.stream.read(min(_BLOCK, end - start))
            if not block:
                raise InputError(f"{self.path}: changed while it was being read; start again")
            start += len(block)
            yield block


def read_source(path: Path) -> Source:
    """Open and parse an ONNX file; its local functions stay as they are. External data is checked but not read.

    Raises InputError as load_onnx does.
    """
    proto = parse_model(path)
    check_names(proto.graph, path)
    reader = TensorReader(path)
    tensors = tuple(tensors_of(proto))
    for tensor in tensors:
        reader.check(tensor)
    try:
        stream: IO[bytes] = path.open("rb")
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        model, graph = _layers(data, proto)
        reader = replace(
            reader, embedded=_embedded(memoryview(data), graph, proto, Counter(tensor.name for tensor in tensors))
        )
    except ValueError:
        stream, model, graph = _canonical(proto)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    return Source(path, proto, reader, stream, model, graph)


def _embedded(
    data: memoryview, graph: tuple[wire.Field, ...], proto: Any, names: Counter[str]
) -> dict[str, memoryview]:
    """Where the raw data of large initializers lie in the file, of those whose name no other tensor has."""
    found = {}
    places = (each for each in graph if each.number == wire.INITIALIZER)
    for place, tensor in zip(places, proto.graph.initializer, strict=True):
        if place.end - place.body < _LARGE or names[tensor.name] > 1 or tensor.data_type not in FLOATS:
            continue
        raw = [each for each in wire.fields(data, place.body, place.end) if each.number == wire.RAW_DATA]
        if len(raw) == 1 and tensor.data_location != tensor.EXTERNAL:
            found[tensor.name] = data[raw[0].body : raw[0].end]
    return found


def tensors_of(message: Any) -> Iterator[Any]:
    """Every onnx.TensorProto in a protobuf message of a model, wherever it stands."""
    if message.DESCRIPTOR.full_name == "onnx.TensorProto":
        yield message
        return
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None and descriptor.message_type.name not in WITHOUT_TENSORS:
            for each in value if descriptor.is_repeated else (value,):
                yield from tensors_of(each)


def _layers(data: Any, proto: Any) -> tuple[tuple[wire.Field, ...], tuple[wire.Field, ...]]:
    """Raises ValueError where the bytes are not laid out as protobuf lays them out itself."""
    model = tuple(wire.fields(data, 0, len(data)))
    outer = wire.only_graph(model)
    graph = tuple(wire.fields(data, outer.body, outer.end))
    counts = {wire.NODE: proto.graph.node, wire.INITIALIZER: proto.graph.initializer, wire.INPUT: proto.graph.input}
    if any(sum(field.number == number for field in graph) != len(part) for number, part in counts.items()):
        raise ValueError("not the file that was parsed")
    return model, graph


def _canonical(proto: Any) -> tuple[IO[bytes], tuple[wire.Field, ...], tuple[wire.Field, ...]]:
    """For files that say the same in an unusual way: the model as protobuf writes it."""
    import io

    data = proto.SerializeToString()
    return io.BytesIO(data), *_layers(data, proto)
