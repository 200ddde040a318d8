"""Tensors as NumPy arrays over the bytes of their storages, with every bound checked first."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.models.static.dtypes import COMPLEX_HALF, itemsize, numpy_dtype, swap_unit
from normdiag.models.static.inert import Bytes, MalformedError, TensorRef

# NumPy before 2.0 stops here.
_MAX_RANK = 32


def read_tensor(tensor: TensorRef) -> NDArray[Any]:
    """The tensor as a read-only array: a view of its storage where dtype and byte order allow.

    It may be unaligned (legacy files), and overlap with others (shared storages). Raises MalformedError where size,
    strides and offset reach beyond the storage.
    """
    data = tensor.storage.load()
    size = itemsize(tensor.dtype)
    if len(tensor.shape) > _MAX_RANK:
        raise MalformedError(f"has {len(tensor.shape)} dimensions")
    if 0 in tensor.shape:
        return _empty(tensor)
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    if (last + 1) * size > len(data):
        raise MalformedError(f"reaches beyond its storage of {len(data)} bytes")
    if tensor.storage.swapped:
        data = _swap(data, swap_unit(tensor.dtype))
    return _view(data, tensor, size)


def _view(data: Bytes, tensor: TensorRef, size: int) -> NDArray[Any]:
    strides = tuple(stride * size for stride in tensor.strides)
    if tensor.dtype == COMPLEX_HALF:
        halves = np.ndarray((*tensor.shape, 2), np.float16, data, tensor.offset * size, (*strides, 2))
        array: NDArray[Any] = halves.astype(np.float32).view(np.complex64)[..., 0]
    else:
        array = np.ndarray(tensor.shape, numpy_dtype(tensor.dtype), data, tensor.offset * size, strides)
    array.flags.writeable = False
    return array


def _empty(tensor: TensorRef) -> NDArray[Any]:
    if math.prod(n for n in tensor.shape if n) >= 2**48:
        raise MalformedError("is empty, of an impossible size")
    return np.zeros(tensor.shape, np.complex64 if tensor.dtype == COMPLEX_HALF else numpy_dtype(tensor.dtype))


def _swap(data: Bytes, unit: int) -> Bytes:
    whole = data[: len(data) // unit * unit]
    return whole if unit == 1 else np.ascontiguousarray(whole.reshape(-1, unit)[:, ::-1]).reshape(-1)
