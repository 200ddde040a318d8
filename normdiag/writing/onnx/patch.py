"""What differs between an ONNX file and its successor, and the bytes that result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from normdiag.models.onnx import wire
from normdiag.writing.onnx.new_tensor import NewTensor
from normdiag.writing.onnx.original import Original

# A protobuf message, or an initializer whose values are made while writing.
Item = Any
Items = tuple[Item, ...]
_BEHIND_RAW_DATA = ("doc_string", "external_data", "data_location", "metadata_props")


@dataclass(frozen=True, eq=False)
class Patch:
    """Edits of a model by the number of a field and the index of its occurrence in the original.

    `graph` and `model` say what stands there instead, nothing for what goes; `added` what comes after the last
    field of that number in the graph.
    """

    graph: Mapping[tuple[int, int], Items] = field(default_factory=dict)
    added: Mapping[int, Items] = field(default_factory=dict)
    model: Mapping[tuple[int, int], Items] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """A run of bytes of known length; `blocks` makes them."""

    size: int
    blocks: Callable[[], Iterator[bytes | memoryview]]


def render(source: Original, patch: Patch) -> list[Piece]:
    """The patched model; what is not patched comes from the file, byte for byte."""
    nodes = {(wire.NODE, index): (node,) for index, node in source.nodes.items()}
    graph = _merged(source, _replaced(source.graph, {**nodes, **patch.graph}, patch.added))
    size = sum(piece.size for piece in graph)
    pieces: list[Piece] = []
    for part in _replaced(source.model, patch.model, {}):
        if isinstance(part, wire.Field) and part.number == wire.GRAPH:
            pieces += [_bytes(wire.header(wire.GRAPH, size)), *graph]
        else:
            pieces += _merged(source, [part])
    return pieces


def write_pieces(pieces: Sequence[Piece], stream: IO[bytes]) -> None:
    """Write all pieces in order."""
    for piece in pieces:
        for block in piece.blocks():
            stream.write(block)


def collect(pieces: Sequence[Piece]) -> bytes:
    """All pieces as one."""
    return b"".join(block for piece in pieces for block in piece.blocks())


Part = wire.Field | tuple[int, Item]


def _replaced(
    fields: Sequence[wire.Field], replaced: Mapping[tuple[int, int], Items], added: Mapping[int, Items]
) -> Iterator[Part]:
    last = {each.number: place for place, each in enumerate(fields)}
    counts: dict[int, int] = {}
    for place, each in enumerate(fields):
        index = counts.get(each.number, 0)
        counts[each.number] = index + 1
        if (each.number, index) in replaced:
            yield from ((each.number, item) for item in replaced[each.number, index])
        else:
            yield each
        if last[each.number] == place:
            yield from ((each.number, item) for item in added.get(each.number, ()))
    for number in added.keys() - last.keys():
        yield from ((number, item) for item in added[number])


def _merged(source: Original, parts: Iterable[Part]) -> list[Piece]:
    """Neighbouring ranges of the file become one piece."""
    pieces: list[Piece] = []
    start = end = 0
    for part in parts:
        if isinstance(part, wire.Field) and part.start == end:
            end = part.end
            continue
        pieces += _range(source, start, end)
        start = end = 0
        if isinstance(part, wire.Field):
            start, end = part.start, part.end
        else:
            pieces += _encoded(*part)
    return pieces + _range(source, start, end)


def _range(source: Original, start: int, end: int) -> list[Piece]:
    return [Piece(end - start, lambda: source.blocks(start, end))] if end > start else []


def _bytes(data: bytes) -> Piece:
    return Piece(len(data), lambda: iter((data,)))


def _encoded(number: int, item: Item) -> list[Piece]:
    if not isinstance(item, NewTensor):
        data = item.SerializeToString()
        return [_bytes(wire.header(number, len(data)) + data)]
    before, after = _around(item)
    inner = wire.header(wire.RAW_DATA, item.nbytes)
    size = len(before) + len(inner) + item.nbytes + len(after)
    values = Piece(item.nbytes, item.raw)
    return [_bytes(wire.header(number, size) + before + inner), values, _bytes(after)]


def _around(item: NewTensor) -> tuple[bytes, bytes]:
    """The message of a tensor without its values: the fields before and after these, in the order of their numbers."""
    before, after = item.header(), item.header()
    for name in _BEHIND_RAW_DATA:
        before.ClearField(name)
    for descriptor, _ in after.ListFields():
        if descriptor.name not in _BEHIND_RAW_DATA:
            after.ClearField(descriptor.name)
    return before.SerializeToString(), after.SerializeToString()
