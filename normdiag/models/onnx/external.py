"""Tensors of an ONNX file as numpy arrays; external data is only ever read from files inside the model's folder."""

from __future__ import annotations

import math
import mmap
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from normdiag.errors import InputError
from normdiag.models.onnx.parse import MAX_RANK
from normdiag.records.model import Array

CHANGED = "changed while it was being read; start again"


class Stamp(NamedTuple):
    """What tells whether a file was written to, or replaced: its inode, bytes and time of the last change (ns)."""

    inode: int
    size: int
    changed: int


def stamp(status: os.stat_result) -> Stamp:
    """That of a file by its status."""
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns)


def _stamp_of(name: str) -> Stamp | None:
    try:
        return stamp(Path(name).stat())
    except OSError:
        return None


@dataclass(frozen=True)
class TensorReader:
    """Reads tensors of the model at `path`; external files are mapped, not loaded. `stamps` has each as it was met.

    `embedded` says where in the model file, open as `stream`, the values of tensors lie that were left out when it was
    parsed: first byte and number of bytes by name. They too are mapped, for as long as an array is in use. `opened` is
    the stamp of `stream` when it was parsed.
    """

    path: Path
    stamps: dict[str, Stamp] = field(default_factory=dict)
    embedded: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    stream: IO[bytes] | None = None
    opened: Stamp | None = None

    def check(self, tensor: Any) -> None:
        """Raise InputError for more dimensions than arrays have, and for external data that does not lie, in full, in a
        file inside the model's folder.
        """
        if len(tensor.dims) > MAX_RANK:
            raise InputError(f"{self.path}: tensor {tensor.name!r} is damaged: it has {len(tensor.dims)} dimensions")
        if tensor.data_location == tensor.EXTERNAL:
            self.locate(tensor)

    def array(self, tensor: Any) -> Array:
        """The values of an onnx.TensorProto in its own dtype and shape; InputError where they do not fit together."""
        from onnx import helper, numpy_helper

        if any(dim < 0 for dim in tensor.dims):
            raise InputError(f"{self.path}: tensor {tensor.name!r} has a negative dimension")
        try:
            if tensor.data_location == tensor.EXTERNAL:
                return self._mapped(tensor)
            if tensor.name in self.embedded:
                dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
                return self._embedded(tensor.name, dtype).reshape(tuple(tensor.dims))
            return np.asarray(numpy_helper.to_array(tensor))
        except (ValueError, TypeError, KeyError, OverflowError, MemoryError, AttributeError) as error:
            raise InputError(f"{self.path}: tensor {tensor.name!r} is damaged: {error}") from None

    def complete(self, tensor: Any) -> None:
        """Put the values into a copy of an onnx.TensorProto that was parsed without them."""
        if tensor.name in self.embedded:
            tensor.raw_data = self._embedded(tensor.name, np.dtype(np.uint8)).tobytes()

    def _embedded(self, name: str, dtype: np.dtype[Any]) -> Array:
        assert self.stream is not None
        offset, length = self.embedded[name]
        before = offset % mmap.ALLOCATIONGRANULARITY
        self._check_stream()  # a mapped file that has become shorter ends the process
        data = mmap.mmap(self.stream.fileno(), before + length, access=mmap.ACCESS_READ, offset=offset - before)
        return np.frombuffer(data, np.uint8, length, before).view(dtype)

    def _mapped(self, tensor: Any) -> Array:
        from onnx import helper

        target, offset, length = self.locate(tensor)
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        count = math.prod(tensor.dims)
        if count * dtype.itemsize > length:
            raise InputError(
                f"{self.path}: tensor {tensor.name!r} needs {count * dtype.itemsize} bytes, "
                f"its external data in {target.name!r} have {length}"
            )
        if count == 0:
            return np.empty(tuple(tensor.dims), dtype)
        raw = np.memmap(target, np.uint8, "r", offset, (count * dtype.itemsize,))
        return np.asarray(raw).view(dtype).reshape(tuple(tensor.dims))

    def check_unchanged(self) -> None:
        """Raise InputError where the model or one of its data files is not what it was when it was opened."""
        self._check_stream()
        changed = next((name for name, known in self.stamps.items() if _stamp_of(name) != known), None)
        if changed is not None:
            raise InputError(f"{changed}: {CHANGED}")

    def _check_stream(self) -> None:
        if self.stream is not None and stamp(os.fstat(self.stream.fileno())) != self.opened:
            raise InputError(f"{self.path}: {CHANGED}")

    def locate(self, tensor: Any) -> tuple[Path, int, int]:
        """File, first byte and number of bytes of external data."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        target = self._inside(tensor.name, entries.get("location", ""))
        size = self._size(tensor.name, target)
        offset = self._number(tensor.name, entries, "offset", 0)
        length = self._number(tensor.name, entries, "length", -1)
        length = max(size - offset, 0) if length < 0 else length
        if offset + length > size:
            raise InputError(
                f"{self.path}: external data file {target.name!r} is too short for tensor {tensor.name!r}: "
                f"{size} bytes where {offset + length} are needed"
            )
        return target, offset, length

    def _inside(self, name: str, location: str) -> Path:
        folder = self.path.parent.resolve()
        try:
            target = (folder / location).resolve()
        except (OSError, ValueError, RuntimeError):  # RuntimeError: a loop of symbolic links
            target = folder
        if not location or target == folder or not target.is_relative_to(folder) or Path(location).is_absolute():
            raise InputError(
                f"{self.path}: tensor {name!r} points at external data {location!r}, which is not a file inside the "
                "model's folder; put the data beside the model"
            )
        return target

    def _size(self, name: str, target: Path) -> int:
        key = str(target)
        if key not in self.stamps:
            where = f"{self.path}: external data file {target.name!r} of tensor {name!r}"
            try:
                status = target.stat()
            except OSError:
                raise InputError(f"{where} is missing") from None
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{where} is not a regular file")
            self.stamps[key] = stamp(status)
        return self.stamps[key].size

    def _number(self, name: str, entries: Mapping[str, str], key: str, default: int) -> int:
        text = entries.get(key, "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise InputError(f"{self.path}: external data of tensor {name!r} have {key} {text[:20]!r}")
        return int(text)
