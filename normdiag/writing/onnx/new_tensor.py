"""Initializers whose values are made when they are needed, one at a time."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from normdiag.records.model import Array


@dataclass(frozen=True, eq=False)
class NewTensor:
    """An initializer to be: `data_type` is onnx's number, `pieces` makes the values: flat arrays, one after the other.

    `like` is the onnx.TensorProto whose values it replaces, where that is an initializer: documentation and the place
    of external data are taken from there.
    """

    name: str
    data_type: int
    dims: tuple[int, ...]
    pieces: Callable[[], Iterable[Array]]
    like: Any = None

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.dims) * self.dtype.itemsize

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        from onnx import helper

        return np.dtype(helper.tensor_dtype_to_np_dtype(self.data_type))

    def read(self) -> Array:
        """The values, in the shape `dims`."""
        values = np.empty(self.dims, self.dtype)
        flat, start = values.reshape(-1), 0
        for piece in self.pieces():
            flat[start : start + piece.size] = piece
            start += piece.size
        return values

    def raw(self) -> Iterator[memoryview]:
        """The bytes of the values, little-endian as ONNX stores them."""
        for piece in self.pieces():
            yield (piece.byteswap() if sys.byteorder == "big" else piece).view(np.uint8).data

    def header(self) -> Any:
        """An onnx.TensorProto without values."""
        import onnx

        tensor = onnx.TensorProto(name=self.name, data_type=self.data_type, dims=self.dims)
        if self.like is not None:
            tensor.doc_string = self.like.doc_string
            tensor.metadata_props.extend(self.like.metadata_props)
            if not self.like.HasField("doc_string"):
                tensor.ClearField("doc_string")
        return tensor

    def named(self, name: str, like: Any = None) -> NewTensor:
        """The same values under a name."""
        return replace(self, name=name, like=like)


def constant(array: Array) -> NewTensor:
    """A tensor without a name yet that holds an array."""
    return described(array.dtype, array.shape, lambda: (np.ascontiguousarray(array).reshape(-1),))


def described(dtype: np.dtype[Any], shape: tuple[int, ...], pieces: Callable[[], Iterable[Array]]) -> NewTensor:
    """A tensor without a name yet of this dtype and shape, whose flat values `pieces` makes."""
    from onnx import helper

    return NewTensor("", helper.np_dtype_to_tensor_dtype(dtype), shape, pieces)
