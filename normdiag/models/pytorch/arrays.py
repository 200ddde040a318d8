"""Tensors as numpy arrays and back, with the dtypes that numpy has only through ml_dtypes."""

from __future__ import annotations

import warnings
from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]

# What torch and ml_dtypes both know under one name, with the integer of the same width that they share.
_BITS = {
    "bfloat16": torch.int16,
    "float8_e4m3fn": torch.int8,
    "float8_e5m2": torch.int8,
    "float8_e4m3fnuz": torch.int8,
    "float8_e5m2fnuz": torch.int8,
    "float8_e8m0fnu": torch.int8,  # torch has it from 2.7 on
}
_EXTENDED = tuple((getattr(torch, name), bits, name) for name, bits in _BITS.items() if hasattr(torch, name))
_TO_NUMPY = {dtype: (bits, np.dtype(getattr(ml_dtypes, name))) for dtype, bits, name in _EXTENDED}
_TO_TORCH = {name: (dtype, bits) for dtype, bits, name in _EXTENDED}
# torch computes with few unsigned types: the wider ones go in as the integer that holds them.
_WIDENED = {"uint16": np.int32, "uint32": np.int64, "uint64": np.int64}


def to_numpy(tensor: Tensor) -> Array:
    """A copy of a tensor on any device, in its own dtype (bfloat16 and float8 as those of ml_dtypes)."""
    dense = tensor.detach().cpu().contiguous()
    if dense.dtype in _TO_NUMPY:
        bits, dtype = _TO_NUMPY[dense.dtype]
        return np.array(dense.view(bits).numpy().view(dtype))
    return np.array(dense.numpy())


def shared_tensor(array: Array) -> Tensor:
    """A tensor on the memory of an array, as a mapped file has it; nobody must write to it.

    A copy where torch cannot share it: another byte order, a type that torch lacks.
    """
    if not array.dtype.isnative or array.dtype.name in _WIDENED or not array.flags.c_contiguous:
        return to_tensor(array)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the array is read-only
        if array.dtype.name not in _TO_TORCH:
            return torch.from_numpy(array)
        dtype, bits = _TO_TORCH[array.dtype.name]
        return torch.from_numpy(array.view(torch.empty(0, dtype=bits).numpy().dtype)).view(dtype)


def to_tensor(array: Array) -> Tensor:
    """A tensor on the CPU with a copy of an array's values, which therefore never change with it."""
    native = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    if native.dtype.name in _TO_TORCH:
        dtype, bits = _TO_TORCH[native.dtype.name]
        return torch.from_numpy(native.view(torch.empty(0, dtype=bits).numpy().dtype)).view(dtype)
    return torch.from_numpy(native.astype(_WIDENED.get(native.dtype.name, native.dtype), copy=False))
