"""Checkpoints of torch.distributed.checkpoint: a folder whose .metadata says where in its .distcp files tensors lie.

The .metadata is a pickle of the classes in `_CLASSES`, read as records of what they were given: none of them is
imported, and nothing else may stand in their place. What lies at an offset of a .distcp file is a file of torch.save,
read like any other. Its format: torch/distributed/checkpoint/metadata.py and filesystem.py, the same from torch 2.1 on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from normdiag.models.static.dtypes import itemsize
from normdiag.models.static.inert import Bytes, MalformedError, OpaqueKey, Record, Storage, TensorRef, shown
from normdiag.models.static.opcodes import run
from normdiag.models.static.pickled_numpy import tensor_of
from normdiag.models.static.rebuild import construct, tensor_view
from normdiag.models.static.source import ByteSource, SourceReader, open_source
from normdiag.models.static.tensors import read_tensor
from normdiag.models.static.torchfile import zip_object
from normdiag.models.static.zipped import open_archive

METADATA, PARTS = ".metadata", "*.distcp"
_MODULE = "torch.distributed.checkpoint"
_CLASSES = {
    "all": f"{_MODULE}.metadata.Metadata",
    "tensor": f"{_MODULE}.metadata.TensorStorageMetadata",
    "bytes": f"{_MODULE}.metadata.BytesStorageMetadata",
    "chunk": f"{_MODULE}.metadata.ChunkStorageMetadata",
    "index": f"{_MODULE}.metadata.MetadataIndex",
    "place": f"{_MODULE}.filesystem._StorageInfo",
}
_MOST_LEVELS = 64
_MOST_ELEMENTS = 2**48


def distributed_source(folder: Path) -> ByteSource:
    """The .metadata of a folder, called as the folder is, and how many bytes lie in the files beside it."""
    found = open_source(folder / METADATA)
    beside = sum(each.stat().st_size for each in folder.glob(PARTS))
    return replace(found, name=str(folder), beside=beside)


def distributed_object(source: ByteSource) -> Any:
    """The nested dictionaries that were saved, with their tensors unread; what is no tensor is left out.

    Raises MalformedError for a .metadata that holds anything else, or places a tensor where none lies.
    """
    found = _record(run(SourceReader(source), _no_storage, construct, source.imported), "all")
    assert source.path is not None  # a folder has no files inside others
    files = _Files(source.path.parent, source)
    places = _places(found.get("storage_data"))
    paths = found.get("planner_data")
    tree: dict[str, Any] = {}
    for name, about in _dictionary(found.get("state_dict_metadata")).items():
        if isinstance(about, Record) and about.cls.path == _CLASSES["bytes"]:
            continue
        tensor = _tensor(name, _record(about, "tensor"), places, files)
        _put(tree, paths.get(name) if isinstance(paths, dict) else None, name, tensor)
    return tree


@dataclass(frozen=True, eq=False)
class _Files:
    """The .distcp files beside a .metadata, each opened once."""

    folder: Path
    metadata: ByteSource

    def __post_init__(self) -> None:
        object.__setattr__(self, "open", cache(self.open))

    def open(self, name: str) -> ByteSource:
        # A file beside the metadata: a name with a folder in it could lead anywhere.
        if Path(name).name != name or "\\" in name or "\0" in name or not name:
            raise MalformedError(f"places a tensor in '{shown(name)}', which is no file beside it")
        return open_source(self.folder / name)

    def tensor(self, place: Mapping[str, Any]) -> TensorRef:
        """What lies at a place of one of the files."""
        name, start, length = (place.get(each) for each in ("relative_path", "offset", "length"))
        if place.get("transform_descriptors"):
            raise MalformedError("holds tensors that were compressed on the way to the file, which are not read here")
        if not isinstance(name, str) or type(start) is not int or type(length) is not int:
            raise MalformedError("places a tensor nowhere")
        whole = self.open(name)
        if start < 0 or length <= 0 or start + length > len(whole.data):
            raise MalformedError(f"places a tensor beyond the end of {shown(name)}: the file is incomplete")
        part = ByteSource(f"{self.folder / name}", whole.data[start : start + length], None, self.metadata.imported)
        found = tensor_of(zip_object(open_archive(part)))
        if found is None:
            raise MalformedError(f"places a tensor in {shown(name)} where none lies")
        return found


def _no_storage(_identity: Any) -> Any:
    raise MalformedError("a persistent id where there can be none")


def _record(value: Any, kind: str) -> Mapping[str, Any]:
    """The attributes of an object of one of the classes that may stand there."""
    if not isinstance(value, Record) or value.cls.path != _CLASSES[kind] or not isinstance(value.state, dict):
        raise MalformedError(f"its .metadata is none of {_MODULE}")
    return value.state


def _dictionary(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise MalformedError(f"its .metadata is none of {_MODULE}")
    return value


def _places(stored: Any) -> Mapping[tuple[str, tuple[int, ...]], Mapping[str, Any]]:
    """Where each chunk lies, by the name of its tensor and the offsets that it has there."""
    found: dict[tuple[str, tuple[int, ...]], Mapping[str, Any]] = {}
    for key, place in (stored if isinstance(stored, dict) else {}).items():
        index = _record(key.value if isinstance(key, OpaqueKey) else key, "index")
        name, offsets = index.get("fqn"), index.get("offset")
        if isinstance(name, str):
            found[name, _numbers(offsets or ())] = _record(place, "place")
    return found


def _numbers(value: Any) -> tuple[int, ...]:
    if not isinstance(value, Sequence) or not all(type(each) is int and each >= 0 for each in value):
        raise MalformedError("a tensor with an impossible size or offset")
    return tuple(value)


def _tensor(name: str, about: Mapping[str, Any], places: Mapping[Any, Mapping[str, Any]], files: _Files) -> TensorRef:
    """A tensor as it lies in one file or, where it was saved in parts, put together when it is read."""
    size, parts = _numbers(about.get("size")), []
    for each in about.get("chunks") or ():
        chunk = _record(each, "chunk")
        offsets, sizes = _numbers(chunk.get("offsets")), _numbers(chunk.get("sizes"))
        place = places.get((name, offsets))
        if place is None and not any(offsets):
            place = places.get((name, ()))
        if place is None or any(a + b > whole for a, b, whole in zip(offsets, sizes, size, strict=False)):
            raise MalformedError(f"does not say where '{shown(name)}' lies")
        part = files.tensor(place)
        if part.shape != sizes or len(sizes) != len(size):
            raise MalformedError(f"holds a part of '{shown(name)}' of another size than it says")
        parts.append((offsets, part))
    if not parts or sum(math.prod(part.shape) for _, part in parts) != math.prod(size):
        raise MalformedError(f"holds '{shown(name)}' only in part")
    return parts[0][1] if len(parts) == 1 else _joined(name, size, parts)


def _joined(name: str, size: tuple[int, ...], parts: Sequence[tuple[tuple[int, ...], TensorRef]]) -> TensorRef:
    dtype, elements = parts[0][1].dtype, math.prod(size)
    if elements > _MOST_ELEMENTS or any(part.dtype != dtype for _, part in parts):
        raise MalformedError(f"holds parts of '{shown(name)}' that do not fit together")
    storage = Storage(name, dtype, elements * itemsize(dtype), partial(_put_together, size, parts))
    strides = tuple(math.prod(size[axis + 1 :]) for axis in range(len(size)))
    return tensor_view(storage, dtype, 0, size, strides)


def _put_together(size: tuple[int, ...], parts: Sequence[tuple[tuple[int, ...], TensorRef]]) -> Bytes:
    arrays = [(offsets, read_tensor(part)) for offsets, part in parts]
    whole = np.zeros(size, arrays[0][1].dtype)
    for offsets, array in arrays:
        whole[tuple(slice(a, a + n) for a, n in zip(offsets, array.shape, strict=True))] = array
    return whole.reshape(-1).view(np.uint8)


def _put(tree: dict[str, Any], path: Any, name: str, tensor: TensorRef) -> None:
    """A tensor under the keys that it had when it was saved, or under its whole name where that is not told."""
    usable = isinstance(path, tuple) and 0 < len(path) <= _MOST_LEVELS
    *folders, last = (str(each) for each in path if isinstance(each, str | int)) if usable else (name,)
    at = tree
    for each in folders:
        inner = at.setdefault(each, {})
        if not isinstance(inner, dict):
            raise MalformedError(f"has no place for '{shown(name)}'")
        at = inner
    at[last] = tensor
