"""The object inside a torch.save file (zip or legacy) or a bare pickle, with its tensors unread."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np

from normdiag.errors import InputError
from normdiag.models.static.dtypes import STORAGE_DTYPES, itemsize
from normdiag.models.static.inert import Bytes, Global, MalformedError, Record, Storage
from normdiag.models.static.opcodes import run
from normdiag.models.static.rebuild import construct
from normdiag.models.static.source import ByteSource, SourceReader
from normdiag.models.static.zipped import Archive

# Storages of one file, asked for by key, dtype and bytes.
StorageMaker = Callable[[str, str, int], Storage]


def zip_object(archive: Archive, pickle: str = "data.pkl", folder: str = "data") -> Any:
    """The object in a torch.save or TorchScript archive: the pickle's, over the storages in `folder`."""
    swapped = _byteorder(archive) != sys.byteorder

    def storage(key: str, dtype: str, nbytes: int) -> Storage:
        return Storage(
            key, dtype, nbytes, partial(_exactly, partial(archive.array, f"{folder}/{key}"), nbytes), swapped
        )

    return run(BytesIO(archive.copy(pickle)), partial(_persistent, storage), imported=archive.source.imported)


def _byteorder(archive: Archive) -> str:
    """Files without the member come from torch before 2.1 and are little-endian but for rare machines."""
    text = archive.copy("byteorder") if "byteorder" in archive else b"little"
    if text not in (b"little", b"big"):
        raise InputError(f"{archive.source.name}: the byteorder member says neither little nor big")
    return text.decode()


def _exactly(load: Callable[[], Bytes], nbytes: int) -> Bytes:
    data = load()
    if len(data) != nbytes:
        raise MalformedError(f"lies in a storage of {len(data)} bytes that should have {nbytes}")
    return data


def _persistent(storage: StorageMaker, identity: Any) -> Any:
    """Answer ('storage', class, key, location, numel[, view]) and ('module', class, file, source)."""
    kind = _text(identity[0]) if isinstance(identity, tuple) and identity else None
    if kind == "module" and len(identity) == 4 and isinstance(identity[1], Global):
        return identity[1]
    if kind != "storage" or len(identity) not in (5, 6) or not isinstance(identity[1], Global):
        raise MalformedError("a persistent id that torch does not write")
    dtype, key, numel = STORAGE_DTYPES.get(identity[1].name), _text(identity[2]), identity[4]
    if key is None or type(numel) is not int or not 0 <= numel < 2**60:
        raise MalformedError("a storage with an impossible key or size")
    if dtype is None:  # quantized
        return Record(identity[1], identity[2:])
    made = storage(key, dtype, numel * itemsize(dtype))
    view = identity[5] if len(identity) == 6 else None
    return made if view is None else _storage_view(made, view)


def _storage_view(root: Storage, view: Any) -> Storage:
    """Part of a legacy storage: (key, offset, numel), in elements."""
    if not (isinstance(view, tuple) and len(view) == 3 and all(type(n) is int and 0 <= n < 2**60 for n in view[1:])):
        raise MalformedError("an impossible view of a storage")
    start, length = (n * itemsize(root.dtype) for n in view[1:])

    def load() -> Bytes:
        data = root.load()
        if start + length > len(data):
            raise MalformedError("lies in a view that reaches beyond its storage")
        return data[start : start + length]

    return Storage(root.key, root.dtype, length, load, root.swapped)


def _text(value: Any) -> str | None:
    """Strings, as they are or as Python 2 and C++ wrote them: bytes or numbers."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else None


def legacy_object(source: ByteSource) -> Any:
    """The object in a torch.save file from before torch 1.6, or written without the zip format.

    Five pickles (magic number, protocol, system, object, storage keys), then each storage as its int64 count of
    elements and its bytes.
    """
    table = _LegacyStorages()
    reader = SourceReader(source)
    _magic, _protocol, system = (run(reader, _no_storage, imported=source.imported) for _ in range(3))
    little = system.get("little_endian", True) if isinstance(system, dict) else True
    table.swapped = bool(little) != (sys.byteorder == "little")
    found = run(reader, partial(_persistent, table.storage), imported=source.imported)
    keys = run(reader, _no_storage, imported=source.imported)
    table.locate(source, reader.tell(), keys)
    return found


class _LegacyStorages:
    """The storages of a legacy file: asked for by the object's pickle, located once the pickles are over."""

    def __init__(self) -> None:
        self.swapped = False
        self._wanted: dict[str, tuple[str, int]] = {}
        self._found: dict[str, Bytes] = {}

    def storage(self, key: str, dtype: str, nbytes: int) -> Storage:
        self._wanted.setdefault(key, (dtype, nbytes))
        return Storage(key, dtype, nbytes, partial(self._load, key), self.swapped)

    def _load(self, key: str) -> Bytes:
        if key not in self._found:
            raise MalformedError("lies in a storage that the file does not hold")
        return self._found[key]

    def locate(self, source: ByteSource, position: int, keys: Any) -> None:
        if not isinstance(keys, list):
            raise MalformedError("no list of storage keys")
        for key in map(_text, keys):
            if key is None or key not in self._wanted:
                raise MalformedError("a storage that no tensor uses")
            position = self._locate_one(source, position, key)

    def _locate_one(self, source: ByteSource, position: int, key: str) -> int:
        dtype, nbytes = self._wanted[key]
        order = "<" if self.swapped != (sys.byteorder == "little") else ">"
        count = int(np.frombuffer(bytes(source.data[position : position + 8]).ljust(8), f"{order}i8")[0])
        end = position + 8 + nbytes
        if end > len(source.data):
            missing = end - len(source.data)
            raise InputError(f"{source.name}: the file is truncated: at least {missing} bytes of weights are missing")
        if count * itemsize(dtype) != nbytes:
            raise MalformedError("a storage whose size is not the declared one")
        self._found[key] = source.array(position + 8, nbytes)
        return end


def _no_storage(_identity: Any) -> Any:
    raise MalformedError("a persistent id where there can be none")


def pickle_object(source: ByteSource) -> Any:
    """The object in a bare pickle. Torch tensors in it carry whole legacy files, which are read in turn."""
    return run(SourceReader(source), _no_storage, _construct_with_storages, source.imported)


def _construct_with_storages(function: Any, args: tuple[Any, ...]) -> Any:
    load = isinstance(function, Global) and function.path == "torch.storage._load_from_bytes"
    if load and len(args) == 1 and isinstance(args[0], (bytes, bytearray)):
        return _nested_storage(bytes(args[0]))
    return construct(function, args)


def _nested_storage(data: bytes) -> Storage:
    """The storage in the bytes that torch.storage._load_from_bytes would be given: a legacy file of one storage."""
    found = legacy_object(ByteSource("storage", memoryview(data)))
    if not isinstance(found, Storage):
        raise MalformedError("bytes that should hold a storage and do not")
    loaded = np.frombuffer(bytes(found.load()), np.uint8)
    return Storage(found.key, found.dtype, len(loaded), lambda: loaded, found.swapped)
