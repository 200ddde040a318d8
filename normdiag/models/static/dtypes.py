"""Element types under the names that torch, safetensors and torch.export use, as numpy dtypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

# Names of torch dtypes that numpy has itself; the rest comes from ml_dtypes.
_INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
_NUMPY = frozenset((*_INTEGERS, "bool", "float16", "float32", "float64", "complex64", "complex128"))
_FLOAT8 = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
_ML_DTYPES = frozenset((*_FLOAT8, "bfloat16"))
# Opaque bits, and pairs of four-bit floats: read as the unsigned integers that hold them.
_AS_BITS = {"bits8": "uint8", "bits16": "uint16", "bits1x8": "uint8", "bits2x4": "uint8", "bits4x2": "uint8"}
_AS_BITS["float4_e2m1fn_x2"] = "uint8"
# numpy has no half-precision complex: pairs of float16, widened to complex64 when read.
COMPLEX_HALF = "complex32"

STORAGE_DTYPES: Mapping[str, str] = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "UntypedStorage": "uint8",
}

# torch.dtype attributes have aliases; pickles hold any of them.
_ALIASES = {
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "short": "int16",
    "int": "int32",
    "long": "int64",
    "cfloat": "complex64",
    "cdouble": "complex128",
    "chalf": "complex32",
}

SAFETENSORS_DTYPES: Mapping[str, str] = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}

# torch._export.serde.schema.ScalarType
EXPORT_DTYPES: Mapping[int, str] = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    9: "complex32",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
    29: "float8_e4m3fn",
    30: "float8_e5m2",
    31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz",
    33: "float8_e8m0fnu",
    34: "uint32",
    35: "uint64",
}


def torch_dtype(name: str) -> str | None:
    """The plain name of the torch dtype called `name` ('half' is 'float16'); None if it holds no readable numbers."""
    name = _ALIASES.get(name, name)
    known = name in _NUMPY or name in _ML_DTYPES or name in _AS_BITS or name == COMPLEX_HALF
    return name if known else None


def itemsize(name: str) -> int:
    """Bytes of one element of the torch dtype `name`."""
    if name in _ML_DTYPES:
        return 2 if name == "bfloat16" else 1
    return 4 if name == COMPLEX_HALF else numpy_dtype(name).itemsize


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype for the torch dtype `name`. ml_dtypes is imported only where it is needed."""
    if name in _ML_DTYPES:
        import ml_dtypes

        dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return dtype
    return np.dtype(_AS_BITS.get(name, name))


def swap_unit(name: str) -> int:
    """Bytes of the unit in which byte order applies: complex numbers are swapped by component."""
    size = itemsize(name)
    return size // 2 if name.startswith("complex") else size
