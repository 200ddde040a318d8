"""GGUF files: norms stored as plain floats among quantized weights. The parts of a split model are read as one."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.errors import InputError
from normdiag.models.static.dtypes import itemsize
from normdiag.models.static.gguf_header import GgufHeader, Scalar, TensorInfo, read_header
from normdiag.models.static.inert import MalformedError, Storage, TensorRef, shown
from normdiag.models.static.names import printable
from normdiag.models.static.source import ByteSource, open_source
from normdiag.models.static.staticfile import DeclaredEps, Quantized, StaticFile
from normdiag.models.static.tensors import read_tensor
from normdiag.wording import abridged

Array = NDArray[Any]

# As llama-gguf-split names the parts of a model.
PART = re.compile(r"-(\d{5})-of-(\d{5})(?=\.gguf$)", re.IGNORECASE)
_MAX_PARTS = 1000
_VALUES_PER_BYTE = 64
_PLAIN = {0: "float32", 1: "float16", 24: "int8", 25: "int16", 26: "int32", 27: "int64", 28: "float64", 30: "bfloat16"}
_RMS_KEY, _LAYER_KEY = ".attention.layer_norm_rms_epsilon", ".attention.layer_norm_epsilon"


@dataclass(frozen=True)
class _Packing:
    """A type of quantized tensors: values in a block, and bytes of it."""

    name: str
    values: int
    nbytes: int


# ggml's types, by number: ggml.h, and GGML_QUANT_SIZES in llama.cpp's gguf-py/gguf/constants.py.
_PACKED: Mapping[int, _Packing] = {
    number: _Packing(name, values, nbytes)
    for number, name, values, nbytes in (
        (2, "Q4_0", 32, 18), (3, "Q4_1", 32, 20), (6, "Q5_0", 32, 22), (7, "Q5_1", 32, 24), (8, "Q8_0", 32, 34),
        (9, "Q8_1", 32, 40), (10, "Q2_K", 256, 84), (11, "Q3_K", 256, 110), (12, "Q4_K", 256, 144),
        (13, "Q5_K", 256, 176), (14, "Q6_K", 256, 210), (15, "Q8_K", 256, 292), (16, "IQ2_XXS", 256, 66),
        (17, "IQ2_XS", 256, 74), (18, "IQ3_XXS", 256, 98), (19, "IQ1_S", 256, 50), (20, "IQ4_NL", 32, 18),
        (21, "IQ3_S", 256, 110), (22, "IQ2_S", 256, 82), (23, "IQ4_XS", 256, 136), (29, "IQ1_M", 256, 56),
        (34, "TQ1_0", 256, 54), (35, "TQ2_0", 256, 66), (39, "MXFP4", 32, 17), (40, "NVFP4", 64, 36),
        (41, "Q1_0", 128, 18),
    )
}  # fmt: skip


def read_gguf(path: Path) -> StaticFile:
    """The tensors of a GGUF file, or of all parts of a split one: those of plain numbers, and the bytes of packed ones.

    Raises InputError for a file that is damaged, truncated or hostile, and for parts that are missing.
    """
    parts = gguf_parts(path)
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise InputError(f"{path}: {len(missing)} of the model's {len(parts)} parts are missing: {abridged(missing)}")
    numbers: dict[str, Scalar] = {}
    tensors: dict[str, Array] = {}
    infos: list[TensorInfo] = []
    for part in parts:
        header, held = _read_part(part)
        numbers = {**header.numbers, **numbers}
        if twice := tensors.keys() & held.keys():
            raise InputError(f"{part}: holds the tensor '{shown(min(twice))}', which another part holds, too")
        tensors |= held
        infos += header.tensors
    notes = (f"read from {len(parts)} parts",) if len(parts) > 1 else _part_alone(numbers)
    return StaticFile(
        tensors, notes=(*notes, *_left_out(infos)), quantized=_quantized(infos), declared=_declared(numbers)
    )


def gguf_parts(path: Path) -> tuple[Path, ...]:
    """The files of the model that the file at `path` is part of, by its name; the file alone where it is whole."""
    found = PART.search(path.name)
    count = int(found[2]) if found else 1
    if found is None or not 1 < count <= _MAX_PARTS or not 1 <= int(found[1]) <= count:
        return (path,)
    head, tail = path.name[: found.start()], path.name[found.end() :]
    return tuple(path.with_name(f"{head}-{index:05}-of-{count:05}{tail}") for index in range(1, count + 1))


def _read_part(path: Path) -> tuple[GgufHeader, dict[str, Array]]:
    source = open_source(path)
    try:
        header = read_header(source)
        _check_layout(source, header)
        known = [info for info in header.tensors if info.type in _PLAIN or info.type in _PACKED]
        return header, {printable(info.name): read_tensor(_ref(source, header, info)) for info in known}
    except MalformedError as error:
        raise InputError(f"{path}: {error}") from None


def _part_alone(numbers: Mapping[str, Scalar]) -> tuple[str, ...]:
    count = numbers.get("split.count", 1)
    named = "its name says nothing of the others, which are not read"
    return (f"one of {count} parts of a model: {named}",) if type(count) is int and count > 1 else ()


def _left_out(infos: list[TensorInfo]) -> tuple[str, ...]:
    odd = [info for info in infos if info.type not in _PLAIN and info.type not in _PACKED]
    kinds = ", ".join(map(str, sorted({info.type for info in odd})[:3]))
    return (f"left out {len(odd)} tensors of ggml types that are not known here ({kinds})",) if odd else ()


def _nbytes(info: TensorInfo) -> int:
    """Bytes of a tensor's data, 0 for a type that is not known here.

    Raises MalformedError for what is no whole number of blocks.
    """
    values, packing = math.prod(info.shape), _PACKED.get(info.type)
    if info.type in _PLAIN:
        return values * itemsize(_PLAIN[info.type])
    if packing is None:
        return 0
    if (info.shape[-1] if info.shape else 1) % packing.values:
        raise MalformedError(f"tensor '{shown(info.name)}' is no whole number of blocks of {packing.name}")
    return values // packing.values * packing.nbytes


def _check_layout(source: ByteSource, header: GgufHeader) -> None:
    """The tensors must lie one after the other within the file."""
    end, largest = 0, _VALUES_PER_BYTE * len(source.data)
    for info in sorted(header.tensors, key=lambda each: each.offset):
        if info.offset < end:
            raise MalformedError(f"tensor '{shown(info.name)}' overlaps the one before it")
        if max(math.prod(info.shape), *info.shape, 0) > largest:
            raise MalformedError(f"tensor '{shown(info.name)}' is larger than a file of this size can hold")
        end = info.offset + _nbytes(info)
    missing = header.data + end - len(source.data) if header.tensors else 0
    if missing > 0:
        raise InputError(f"{source.name}: the file is truncated: {missing} bytes of weights are missing")


def _ref(source: ByteSource, header: GgufHeader, info: TensorInfo) -> TensorRef:
    nbytes = _nbytes(info)
    dtype, shape = (_PLAIN[info.type], info.shape) if info.type in _PLAIN else ("uint8", (nbytes,))
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    load = partial(source.array, header.data + info.offset, nbytes)
    return TensorRef(Storage("", dtype, nbytes, load, header.swapped), dtype, 0, shape, strides)


def _quantized(infos: list[TensorInfo]) -> Quantized | None:
    """The types of the packed tensors, that of the most weights first; what is not known counts as packed."""
    packed = [(info, _name(info.type)) for info in infos if info.type not in _PLAIN]
    weights: Counter[str] = Counter()
    for info, name in packed:
        weights[name] += math.prod(info.shape)
    sizes = {printable(info.name): math.prod(info.shape) for info, _ in packed}
    return Quantized(", ".join(name for name, _ in weights.most_common()), sizes) if packed else None


def _name(number: int) -> str:
    return _PACKED[number].name if number in _PACKED else f"type {number}"


def _declared(numbers: Mapping[str, Scalar]) -> DeclaredEps:
    return DeclaredEps(_eps(numbers, _RMS_KEY), _eps(numbers, _LAYER_KEY), bare_layer_norms=True)


def _eps(numbers: Mapping[str, Scalar], key: str) -> frozenset[float]:
    """The values under keys of any architecture, as the decimal numbers that were rounded to float32."""
    found = (value for name, value in numbers.items() if name.endswith(key) and isinstance(value, float))
    return frozenset(float(str(np.float32(value))) for value in found if math.isfinite(value) and 0.0 <= value < 1.0)
