"""New values for tensors of a file: where their bytes lie, and what these become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.errors import InputError
from normdiag.models.sniff import Format, sniff
from normdiag.models.static.dtypes import itemsize, numpy_dtype, swap_unit
from normdiag.models.static.inert import Bytes, TensorRef, shown
from normdiag.models.static.read import read_refs
from normdiag.models.static.source import ByteSource
from normdiag.writing.rounding import rounded
from normdiag.writing.weight_files.byte_edits import ByteEdit, write_edited
from normdiag.writing.weight_files.zip_checksums import checksum_edits

Array = NDArray[Any]
_ZIPPED = frozenset({"torch-zip", "torchscript", "torch-export"})
_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})


@dataclass(frozen=True, eq=False)
class WeightFile:
    """A PyTorch, TorchScript, torch.export or safetensors file, and its tensors by the static reader's names."""

    source: ByteSource
    format: Format
    tensors: Mapping[str, TensorRef]

    def dtype(self, name: str) -> str:
        """The name of a tensor's dtype."""
        return self.tensors[name].dtype

    def obstacle(self, name: str) -> str | None:
        """Why the values of a tensor cannot be replaced where they stand; None where they can."""
        tensor = self.tensors.get(name)
        if tensor is None:
            return f"the file has no tensor '{shown(name)}'"
        if tensor.dtype not in _FLOATS:
            return f"'{shown(name)}' is stored as {tensor.dtype}"
        if _start(self.source, tensor.storage.load()) is None:
            return f"'{shown(name)}' is compressed, or lies inside another pickle"
        return None

    def write(self, values: Mapping[str, Array], target: Path) -> None:
        """Write a copy with these values, each in the shape of its tensor, rounded once to the dtype that is stored.

        Raises InputError for a tensor with an `obstacle`, values that its dtype cannot hold, and where the file cannot
        be written.
        """
        edits = [edit for name, value in values.items() for edit in self._edits(name, value)]
        merged = _without_repeats(self.source.name, edits)
        if self.format in _ZIPPED:
            merged += checksum_edits(self.source.name, str(self.source.path), self.source.data, merged)
        write_edited(self.source.data, merged, target)

    def _edits(self, name: str, value: Array) -> Iterator[ByteEdit]:
        if (obstacle := self.obstacle(name)) is not None:
            raise InputError(f"{self.source.name}: {obstacle}")
        tensor = self.tensors[name]
        start = _start(self.source, tensor.storage.load())
        assert start is not None and tuple(value.shape) == tensor.shape
        stored = rounded(value, numpy_dtype(tensor.dtype), f"{self.source.name}: '{shown(name)}'")
        size = itemsize(tensor.dtype)
        places = start + size * _indexes(tensor)
        raw = stored.reshape(-1).view(np.uint8).reshape(-1, size)
        if tensor.storage.swapped:
            raw = raw.reshape(-1, swap_unit(tensor.dtype))[:, ::-1].reshape(-1, size)
        if len(places) and np.all(np.diff(places) == size):
            yield ByteEdit(int(places[0]), raw.tobytes())
        else:
            yield from (ByteEdit(int(place), each.tobytes()) for place, each in zip(places, raw, strict=True))


def open_weights(path: Path, key: str | None = None) -> WeightFile:
    """The tensors of a model file, none of them read yet. Raises InputError as `read_static` does."""
    fmt = sniff(path)
    source, tensors = read_refs(path, fmt, key)
    return WeightFile(source, fmt, tensors)


def _start(source: ByteSource, data: Bytes) -> int | None:
    """Where in the file a storage lies; None where its bytes are a copy made while reading."""
    whole = np.frombuffer(source.data, np.uint8)
    start = int(data.__array_interface__["data"][0]) - int(whole.__array_interface__["data"][0])
    return start if start >= 0 and start + len(data) <= len(whole) and np.shares_memory(whole, data) else None


def _indexes(tensor: TensorRef) -> NDArray[np.int64]:
    """The place of each value in its storage, in elements."""
    index = np.full(tensor.shape, tensor.offset, np.int64)
    for axis, stride in enumerate(tensor.strides):
        along = np.arange(tensor.shape[axis], dtype=np.int64) * stride
        index += along.reshape(-1, *[1] * (len(tensor.shape) - axis - 1))
    return index.reshape(-1)


def _without_repeats(label: str, edits: list[ByteEdit]) -> list[ByteEdit]:
    """Tensors under two names are edited once. Raises InputError where they would get two values."""
    kept: list[ByteEdit] = []
    for edit in sorted(set(edits)):
        if kept and edit.start < kept[-1].end:
            raise InputError(f"{label}: two layers store their statistics in the same place and need different ones")
        kept.append(edit)
    return kept
