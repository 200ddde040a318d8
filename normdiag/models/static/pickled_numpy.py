"""NumPy arrays and scalars out of the inert records that a pickle leaves of them."""

from __future__ import annotations

import math
import sys
from functools import partial
from typing import Any

import numpy as np

from normdiag.models.static.dtypes import itemsize, torch_dtype
from normdiag.models.static.inert import Bytes, Global, MalformedError, Record, Storage, TensorRef

_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_RECONSTRUCT = frozenset(f"{module}._reconstruct" for module in _MODULES)
_FROM_BUFFER = frozenset(f"{module}._frombuffer" for module in _MODULES)
_SCALAR = frozenset(f"{module}.scalar" for module in _MODULES)
_KINDS = {"f": "float", "i": "int", "u": "uint", "b": "bool", "c": "complex"}


def tensor_of(value: Any) -> TensorRef | None:
    """The tensor that `value` is: a torch tensor, or a NumPy array of numbers; None for anything else."""
    if isinstance(value, TensorRef):
        return value
    if not isinstance(value, Record):
        return None
    if value.cls.path in _RECONSTRUCT:
        return _array_from_state(value.state)
    if value.cls.path in _FROM_BUFFER and len(value.args) == 4:
        data, dtype, shape, order = value.args
        return _array(shape, dtype, order == "F", data)
    return None


def scalar_of(value: Any) -> Any:
    """A plain number for a Python or NumPy number or bool; None for anything else."""
    if isinstance(value, (bool, int, float)):
        return value
    if not (isinstance(value, Record) and value.cls.path in _SCALAR and len(value.args) == 2):
        return None
    array = _array((1,), value.args[0], False, value.args[1])
    if array is None or array.dtype.startswith("complex"):
        return None
    data = array.storage.load()
    data = data[::-1] if array.storage.swapped else data
    return np.frombuffer(data.tobytes(), array.dtype)[0].item()


def _array_from_state(state: Any) -> TensorRef | None:
    """From ndarray.__setstate__: (version, shape, dtype, is Fortran order, data)."""
    if not (isinstance(state, tuple) and len(state) in (4, 5)):
        return None
    shape, dtype, fortran, data = state[-4:]
    return _array(shape, dtype, bool(fortran), data)


def _array(shape: Any, dtype: Any, fortran: bool, data: Any) -> TensorRef | None:
    name, order = _dtype(dtype)
    if isinstance(data, str):  # written by Python 2
        data = data.encode("latin-1", "replace")
    if name is None or not isinstance(data, (bytes, bytearray)) or not _is_shape(shape):
        return None
    if math.prod(shape) * itemsize(name) != len(data):
        raise MalformedError("a NumPy array whose shape does not fit its data")
    storage = Storage("", name, len(data), partial(_as_array, bytes(data)), order not in ("=", "|", _native()))
    sizes = shape if fortran else shape[::-1]
    strides = tuple(math.prod(sizes[:axis]) for axis in range(len(sizes)))
    return TensorRef(storage, name, 0, tuple(shape), strides if fortran else strides[::-1])


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, tuple) and len(shape) <= 32 and all(type(n) is int and 0 <= n < 2**48 for n in shape)


def _dtype(dtype: Any) -> tuple[str | None, str]:
    """The torch name of a pickled numpy.dtype of numbers, and its byte order (<, >, = or |)."""
    if isinstance(dtype, Global):  # numpy.float32, or the dtype classes that ml_dtypes pickles
        return torch_dtype(dtype.name), "="
    if not (isinstance(dtype, Record) and dtype.cls.path == "numpy.dtype" and dtype.args):
        return None, "="
    code, state = dtype.args[0], dtype.state
    if isinstance(code, Global):
        return torch_dtype(code.name), "="
    order = state[1] if isinstance(state, tuple) and len(state) > 1 and isinstance(state[1], str) else "="
    if not (isinstance(code, str) and code[:1] in _KINDS and code[1:] in ("1", "2", "4", "8", "16")):
        return None, order
    bits = "" if code[0] == "b" else str(8 * int(code[1:]))
    return torch_dtype(_KINDS[code[0]] + bits), order


def _as_array(data: bytes) -> Bytes:
    return np.frombuffer(data, np.uint8)


def _native() -> str:
    return "<" if sys.byteorder == "little" else ">"
