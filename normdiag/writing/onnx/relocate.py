"""The patched model with its external tensors pointing at the new data files."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from normdiag.models.onnx.file import tensors_of
from normdiag.writing.onnx.data_files import ByteRange, DataFile, entries, result_items, span
from normdiag.writing.onnx.new_tensor import NewTensor
from normdiag.writing.onnx.original import Original
from normdiag.writing.onnx.patch import Item, Items, Patch


class NewPlaces:
    """Where each old span and each new tensor lies now, as location and offset."""

    def __init__(self, files: Sequence[tuple[str, DataFile]]) -> None:
        """`files` with the name of each, relative to the folder of the model."""
        parts = [(name, part) for name, file in files for part in file.parts]
        self._new = {part.content.name: (name, part) for name, part in parts if isinstance(part.content, NewTensor)}
        copied = [(part.content, name, part.offset) for name, part in parts if isinstance(part.content, ByteRange)]
        self._copied = sorted(copied, key=lambda each: each[0])
        self._keys = [(each.location, each.end) for each, _, _ in self._copied]

    def of_new(self, tensor: NewTensor) -> tuple[str, int] | None:
        """None for a tensor that stays inside the model file."""
        found = self._new.get(tensor.name)
        return None if found is None else (found[0], found[1].offset)

    def of_old(self, old: ByteRange) -> tuple[str, int]:
        """The span is part of one that was copied as a whole; these do not overlap."""
        whole, name, offset = self._copied[bisect_left(self._keys, (old.location, old.end))]
        return name, offset + old.start - whole.start


def relocated(source: Original, patch: Patch, places: NewPlaces) -> Patch:
    """The patch with all that points into data files changed to where they are now."""
    found: Mapping[str, dict[Any, list[Item]]] = {
        "graph": defaultdict(list),
        "model": defaultdict(list),
        "added": defaultdict(list),
    }
    touched: set[tuple[str, Any]] = set()
    for level, key, item in result_items(source, patch):
        new = _moved(source, item, places)
        found[level][key].append(item if new is None else new)
        if new is not None:
            touched.add((level, key))

    def part(level: str, before: Mapping[Any, Items]) -> dict[Any, Items]:
        return {**before, **{key: tuple(items) for key, items in found[level].items() if (level, key) in touched}}

    return Patch(part("graph", patch.graph), part("added", patch.added), part("model", patch.model))


def _moved(source: Original, item: Item, places: NewPlaces) -> Item | None:
    """A changed copy, or None where nothing in it has moved."""
    if isinstance(item, NewTensor):
        place = places.of_new(item)
        return None if place is None else _pointing(item, *place)
    external = [tensor for tensor in tensors_of(item) if tensor.data_location == tensor.EXTERNAL]
    moves = [places.of_old(span(source, tensor)) for tensor in external]
    if all(_stays(tensor, *move) for tensor, move in zip(external, moves, strict=True)):
        return None
    copy = type(item)()
    copy.CopyFrom(item)
    copies = (tensor for tensor in tensors_of(copy) if tensor.data_location == tensor.EXTERNAL)
    for tensor, old, move in zip(copies, external, moves, strict=True):
        where = span(source, old)
        _point(tensor, *move, where.end - where.start)
    return copy


def _stays(tensor: Any, location: str, offset: int) -> bool:
    found = entries(tensor)
    return found["location"] == location and int(found.get("offset") or 0) == offset and "checksum" not in found


def _pointing(item: NewTensor, location: str, offset: int) -> Any:
    tensor = item.header()
    tensor.data_location = tensor.EXTERNAL
    _point(tensor, location, offset, item.nbytes)
    return tensor


def _point(tensor: Any, location: str, offset: int, length: int) -> None:
    """A checksum is that of the whole file, which is another one now."""
    new = {**entries(tensor), "location": location, "offset": str(offset), "length": str(length)}
    new.pop("checksum", None)
    del tensor.external_data[:]
    for key, value in new.items():
        tensor.external_data.add(key=key, value=value)
