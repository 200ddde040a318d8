"""Initializers whose values are made when they are needed, one layer at a time."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from normdiag.folding.affine import scales, shifts
from normdiag.folding.floats import as_dtype
from normdiag.folding.weights import changes_weight, filled, new_bias, new_parameters, scaled_blocks
from normdiag.records import LayerEdit, Op
from normdiag.records.model import Array
from normdiag.records.ops import Conv, Linear, Norm


@dataclass(frozen=True, eq=False)
class NewTensor:
    """An initializer to be: `data_type` is onnx's number, `pieces` makes the values: flat arrays, one behind the other.

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
        return filled(np.empty(self.dims, self.dtype), self.pieces())

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
    return _described(array.dtype, array.shape, lambda: (np.ascontiguousarray(array).reshape(-1),))


def new_tensors(op: Op, edit: LayerEdit) -> tuple[NewTensor | None, NewTensor | None]:
    """Weight and bias of an edited layer, without names yet; None for what stays as it is.

    What stays may be quantized or shared. Weights of layers are not computed before they are read.
    """
    needs_weight, needs_bias = _needs(op, edit)
    detail = op.detail
    if isinstance(detail, Conv | Linear):
        stored = detail.weight
        weight = _described(as_dtype(stored.dtype), stored.shape, lambda: scaled_blocks(detail, edit))
        bias = new_bias(detail, edit) if needs_bias else None
        return weight if needs_weight else None, None if bias is None else constant(bias)
    found = new_parameters(op, edit)
    return (
        constant(found.weight) if needs_weight else None,
        constant(found.bias) if needs_bias and found.bias is not None else None,
    )


def _needs(op: Op, edit: LayerEdit) -> tuple[bool, bool]:
    """Whether the weight and the bias get other values."""
    sides = [side for side in (edit.inner, edit.outer) if side is not None]
    rescaled, shifted = changes_weight(edit), any(shifts(side) for side in sides)
    match op.detail:
        case Conv() | Linear():
            return rescaled, shifted or (edit.outer is not None and scales(edit.outer))
        case Norm():
            return rescaled, shifted or rescaled
    return True, True


def _described(dtype: np.dtype[Any], shape: tuple[int, ...], pieces: Callable[[], Iterable[Array]]) -> NewTensor:
    from onnx import helper

    return NewTensor("", helper.np_dtype_to_tensor_dtype(dtype), shape, pieces)
