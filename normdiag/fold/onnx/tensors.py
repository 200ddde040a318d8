"""Initializers whose values are made when they are needed, one layer at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from normdiag.fold.affine import scales, shifts
from normdiag.fold.weights import changes_weight, new_parameters
from normdiag.records import LayerEdit, Op
from normdiag.records.fold import NewParameters
from normdiag.records.model import Array
from normdiag.records.opgraph import Conv, Linear, Norm

# Arrays that are kept between planning, running and writing; beyond that a layer is computed again. Bytes.
KEPT_BYTES = 2**27


@dataclass(frozen=True, eq=False)
class NewTensor:
    """An initializer to be: `data_type` is onnx's number, `read` makes the values.

    `like` is the onnx.TensorProto whose values it replaces, where that is an initializer: documentation and the place
    of external data are taken from there.
    """

    name: str
    data_type: int
    dims: tuple[int, ...]
    read: Callable[[], Array]
    like: Any = None

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.dims) * self.read_dtype.itemsize

    @property
    def read_dtype(self) -> np.dtype[Any]:
        """The dtype of what `read` returns."""
        from onnx import helper

        return np.dtype(helper.tensor_dtype_to_np_dtype(self.data_type))

    def raw(self) -> memoryview:
        """The bytes of the values, little-endian as ONNX stores them."""
        array = np.ascontiguousarray(self.read()).reshape(-1)
        if array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and not np.little_endian):
            array = array.byteswap()
        return array.view(np.uint8).data

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
    return _described(array, lambda: array)


@dataclass
class Budget:
    """How many bytes of arrays may still be kept."""

    left: int = KEPT_BYTES

    def keep(self, array: Array | None) -> bool:
        """Take an array's bytes off, if they fit."""
        size = 0 if array is None else array.nbytes
        if size > self.left:
            return False
        self.left -= size
        return True


def new_tensors(op: Op, edit: LayerEdit, budget: Budget) -> tuple[NewTensor | None, NewTensor | None]:
    """Weight and bias of an edited layer, without names yet; None for what stays as it is.

    What stays may be quantized or shared. What the budget does not hold is computed again when it is read.
    """
    found = new_parameters(op, edit)

    def part(get: Callable[[NewParameters], Array | None]) -> NewTensor | None:
        array = get(found)
        if array is None:
            return None
        if budget.keep(array):
            return _described(array, lambda: array)
        return _described(array, lambda: _present(get(new_parameters(op, edit))))

    needs_weight, needs_bias = _needs(op, edit)
    bias = part(lambda parameters: parameters.bias) if needs_bias else None
    return part(lambda parameters: parameters.weight) if needs_weight else None, bias


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


def _described(array: Array, read: Callable[[], Array]) -> NewTensor:
    from onnx import helper

    return NewTensor("", helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, read)


def _present(array: Array | None) -> Array:
    assert array is not None
    return array
