"""Where external data lie in the files beside the patched model: in the same order and as well aligned as before."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normdiag.models.onnx import wire
from normdiag.models.onnx.file import tensors_of
from normdiag.writing.onnx.new_tensor import NewTensor
from normdiag.writing.onnx.original import Original
from normdiag.writing.onnx.patch import Item, Patch
from normdiag.writing.onnx.size import tensor_bytes

# Writers of external data align tensors from this size on (onnx: ALIGN_THRESHOLD), to a page or 64 KiB.
_LARGE = 2**20
_MAX_ALIGNMENT = 2**16
_PAGE = 4096
# A new tensor of at least this many bytes goes beside the file, where the file keeps other weights there.
_LEAST_EXTERNAL = 2**16


@dataclass(frozen=True, order=True)
class ByteRange:
    """A range of bytes in a data file of the original."""

    location: str
    start: int
    end: int
    file: Path


@dataclass(frozen=True, eq=False)
class DataPart:
    """What stands at an offset of a new data file."""

    offset: int
    content: ByteRange | NewTensor

    @property
    def size(self) -> int:
        """Bytes."""
        return _size(self.content)


@dataclass(frozen=True, eq=False)
class DataFile:
    """A new data file for what the original has at `locations`."""

    locations: tuple[str, ...]
    parts: tuple[DataPart, ...]


def spans(source: Original) -> list[ByteRange]:
    """Where every tensor of the original whose values lie in another file has them, in the order of the file."""
    return [span(source, tensor) for tensor in tensors_of(source.proto) if tensor.data_location == tensor.EXTERNAL]


def made_tensors(patch: Patch) -> list[NewTensor]:
    """Every tensor of the graph whose values are made."""
    items = [item for part in (*patch.graph.values(), *patch.added.values()) for item in part]
    return [item for item in items if isinstance(item, NewTensor)]


def entries(tensor: Any) -> dict[str, str]:
    """What an onnx.TensorProto says about its external data."""
    return {entry.key: entry.value for entry in tensor.external_data}


def span(source: Original, tensor: Any) -> ByteRange:
    """The bytes that an external tensor of the original stands for. Raises InputError where they are not there."""
    file, offset, length = source.reader.locate(tensor)
    size = 0 if 0 in tensor.dims else tensor_bytes(tensor) or length
    return ByteRange(entries(tensor)["location"], offset, offset + size, file)


def result_items(source: Original, patch: Patch) -> Iterator[tuple[str, tuple[int, int] | int, Item]]:
    """Everything in the result that may hold tensors: which part of the patch would replace it, its key there, it."""
    proto = source.proto
    in_graph = {
        wire.NODE: proto.graph.node,
        wire.INITIALIZER: proto.graph.initializer,
        wire.SPARSE: proto.graph.sparse_initializer,
    }
    in_model = {wire.FUNCTIONS: proto.functions, wire.TRAINING: proto.training_info}
    for level, parts, replaced in (("graph", in_graph, patch.graph), ("model", in_model, patch.model)):
        for number, originals in parts.items():
            for index, original in enumerate(originals):
                for item in replaced.get((number, index), (original,)):
                    yield level, (number, index), item
    for number, items in patch.added.items():
        for item in items:
            yield "added", number, item


def place_of(tensor: NewTensor, default: str) -> tuple[str, int] | None:
    """The data file that a new tensor belongs into and the offset of what it replaces; None inside the model file."""
    like = tensor.like
    if like is not None and like.data_location == like.EXTERNAL:
        found = entries(like)
        return found["location"], int(found.get("offset") or 0)
    if like is not None:
        return None
    return (default, 2**63) if tensor.nbytes >= _LEAST_EXTERNAL else None


def make_layout(source: Original, patch: Patch) -> tuple[DataFile, ...]:
    """A data file for each location of the original that is still needed; none for a model without external data."""
    old = spans(source)
    if not old:
        return ()
    kept: set[ByteRange] = set()
    wanted: dict[str, list[tuple[int, ByteRange | NewTensor]]] = defaultdict(list)
    for _, _, item in result_items(source, patch):
        if isinstance(item, NewTensor):
            place = place_of(item, old[0].location)
            if place is not None:
                wanted[place[0]].append((place[1], item))
            continue
        kept.update(span(source, each) for each in tensors_of(item) if each.data_location == each.EXTERNAL)
    for each in joined(kept):
        wanted[each.location].append((each.start, each))
    before: dict[str, list[ByteRange]] = defaultdict(list)
    for each in old:
        before[each.location].append(each)
    return tuple(_arranged(name, wanted[name], there) for name, there in before.items() if wanted[name])


def merged(files: Sequence[DataFile]) -> DataFile:
    """Several data files as one, in their order."""
    parts: list[DataPart] = []
    end = 0
    for file in files:
        start = _aligned(end, _MAX_ALIGNMENT)
        parts += [DataPart(start + part.offset, part.content) for part in file.parts]
        end = max((part.offset + part.size for part in parts), default=0)
    return DataFile(tuple(name for file in files for name in file.locations), tuple(parts))


def joined(found: Iterable[ByteRange]) -> list[ByteRange]:
    """Spans that overlap, as one."""
    result: list[ByteRange] = []
    for each in sorted(found):
        last = result[-1] if result else None
        if last is not None and last.location == each.location and each.start < last.end:
            result[-1] = ByteRange(last.location, last.start, max(last.end, each.end), last.file)
        else:
            result.append(each)
    return result


def _arranged(location: str, wanted: Sequence[tuple[int, ByteRange | NewTensor]], old: Sequence[ByteRange]) -> DataFile:
    alignment = {
        large: _alignment([s.start for s in old if (s.end - s.start >= _LARGE) is large]) for large in (True, False)
    }
    parts: list[DataPart] = []
    end = 0
    for _, content in sorted(wanted, key=lambda each: each[0]):
        offset = _aligned(end, alignment[_size(content) >= _LARGE])
        parts.append(DataPart(offset, content))
        end = offset + _size(content)
    return DataFile((location,), tuple(parts))


def _alignment(offsets: Sequence[int]) -> int:
    """The largest power of two that all offsets are multiples of; a page where they do not say."""
    common = math.gcd(*offsets)
    return min(common & -common, _MAX_ALIGNMENT) if common else _PAGE


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _size(content: ByteRange | NewTensor) -> int:
    return content.end - content.start if isinstance(content, ByteRange) else content.nbytes
