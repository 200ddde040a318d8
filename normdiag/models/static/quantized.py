"""Which tensors of a checkpoint hold quantized weights, how many values these stand for, and what packed them.

The layouts are those that the tools write: bitsandbytes' in transformers' `quantizer_bnb_4bit.py` and
`quantizer_bnb_8bit.py` (`serialized_names`), GPTQ's in AutoGPTQ's `QuantLinear`, AWQ's in AutoAWQ's `WQLinear_GEMM`,
compressed-tensors' `pack_quantized`, and the blocks of MXFP4 in transformers' `quantizer_mxfp4.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.models.static.inert import shown
from normdiag.models.static.staticfile import Quantized

Array = NDArray[Any]
Tensors = Mapping[str, Array]
_Found = tuple[str, Mapping[str, int]]


@dataclass(frozen=True)
class _File:
    """All tensors of a file, and what its config says of their quantization."""

    tensors: Tensors
    settings: Mapping[str, Any]

    def get(self, name: str) -> Array | None:
        return self.tensors.get(name)

    def beside(self, path: str, parts: tuple[str, ...]) -> dict[str, int]:
        """Those of the parts of a layer that are there, as holding no weights."""
        return {f"{path}.{part}": 0 for part in parts if f"{path}.{part}" in self.tensors}


_STATE = ".quant_state.bitsandbytes__"
_WORD = 32
_MAX_BITS = 8
_NAMES = {"gptq": "GPTQ", "awq": "AWQ"}


def quantization(tensors: Tensors, config: Mapping[str, Any] | None) -> Quantized | None:
    """How the weights are quantized, by the names of their tensors and the config of the checkpoint; else None.

    `config` is config.json, whose `quantization_config` names the method and its bits where the tensors leave it open.
    """
    told = (config or {}).get("quantization_config")
    settings: Mapping[str, Any] = told if isinstance(told, dict) else {}
    file = _File(tensors, settings)
    hows: dict[str, None] = {}
    sizes: dict[str, int] = {}
    for name in tensors:
        for layout in _LAYOUTS:
            if found := layout(name, file):
                hows[found[0]] = None
                sizes |= found[1]
                break
    if not hows:
        method = settings.get("quant_method")
        return Quantized(_method("", settings), {}) if isinstance(method, str) and method else None
    return Quantized(", ".join(hows), sizes)


def _bitsandbytes_4bit(name: str, file: _File) -> _Found | None:
    """Two values a byte, whatever dtype stores the bytes; beside them constants, in one or two levels."""
    weight, sign, kind = name.partition(_STATE)
    packed = file.get(weight)
    if not sign or packed is None:
        return None
    levels = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")
    return f"bitsandbytes {shown(kind, 20)}", {weight: 2 * packed.nbytes, name: 0, **file.beside(weight, levels)}


def _bitsandbytes_int8(name: str, file: _File) -> _Found | None:
    path, _, last = name.rpartition(".")
    weight = file.get(f"{path}.weight")
    if last != "SCB" or weight is None or weight.dtype != np.int8:
        return None
    return "bitsandbytes int8", {f"{path}.weight": weight.size, **file.beside(path, ("SCB", "weight_format"))}


def _words_of_32_bits(name: str, file: _File) -> _Found | None:
    """GPTQ's (in * bits / 32, out) and AWQ's (in, out * bits / 32), with scales of (groups, out) in both."""
    array, (path, _, last) = file.tensors[name], name.rpartition(".")
    scales = file.get(f"{path}.scales")
    if last != "qweight" or scales is None or array.dtype not in (np.int32, np.uint32):
        return None
    bits = _bits(file.settings) or _bits_of_zeros(file.get(f"{path}.qzeros"), scales)
    along_inputs = array.shape[-1:] == scales.shape[-1:]
    values = array.size if bits is None else array.size * _WORD // bits
    beside = file.beside(path, ("scales", "qzeros", "g_idx"))
    how = _method("gptq" if along_inputs else "awq", file.settings, bits)
    return how, {name: values, **beside}


def _compressed_tensors(name: str, file: _File) -> _Found | None:
    array, (path, _, last) = file.tensors[name], name.rpartition(".")
    if last != "weight_packed" or f"{path}.weight_scale" not in file.tensors:
        return None
    shape = file.get(f"{path}.weight_shape")
    parts = ("weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx", "weight_global_scale")
    values = _declared(shape, array) or (2 * array.size if array.dtype == np.uint8 else array.size)
    beside = file.beside(path, (*parts, "input_global_scale", "input_scale"))
    return "compressed-tensors", {name: values, **beside}


def _scaled(name: str, file: _File) -> _Found | None:
    """One value an element: float8 or int8 with a scale for the tensor, its rows or its blocks."""
    array, (path, _, last) = file.tensors[name], name.rpartition(".")
    scales = [each for each in ("weight_scale", "weight_scale_inv") if f"{path}.{each}" in file.tensors]
    if last != "weight" or not scales or array.dtype.itemsize != 1:
        return None
    parts = (*scales, "input_scale", "activation_scale", "weight_zero_point")
    how = "int8" if array.dtype.kind in "iu" else "fp8"
    return how, {name: array.size, **file.beside(path, parts)}


def _blocks(name: str, file: _File) -> _Found | None:
    """MXFP4's: two values a byte, and a scale for each block of 32."""
    array = file.tensors[name]
    if not name.endswith("_blocks") or array.dtype != np.uint8:
        return None
    scales = f"{name.removesuffix('_blocks')}_scales"
    return ("MXFP4", {name: 2 * array.size, scales: 0}) if scales in file.tensors else None


_LAYOUTS: tuple[Callable[[str, _File], _Found | None], ...] = (
    _bitsandbytes_4bit,
    _bitsandbytes_int8,
    _words_of_32_bits,
    _compressed_tensors,
    _scaled,
    _blocks,
)


def _bits(settings: Mapping[str, Any]) -> int | None:
    told = settings.get("bits", settings.get("w_bit"))
    return told if type(told) is int and 1 <= told <= _MAX_BITS else None


def _bits_of_zeros(zeros: Array | None, scales: Array) -> int | None:
    """Both have a column for each output, one of them packed."""
    if zeros is None or not zeros.ndim or not scales.ndim or not scales.shape[-1]:
        return None
    bits, rest = divmod(zeros.shape[-1] * _WORD, scales.shape[-1])
    return bits if not rest and 1 <= bits <= _MAX_BITS else None


def _declared(shape: Array | None, packed: Array) -> int | None:
    """The number of values that a stored shape means, where the bytes can hold as many."""
    if shape is None or shape.dtype.kind not in "iu" or not 1 <= shape.size <= 8:
        return None
    sizes = [int(each) for each in shape.reshape(-1)]
    values = math.prod(sizes)
    return values if min(sizes) >= 0 and values <= 8 * packed.nbytes else None


def _method(usual: str, settings: Mapping[str, Any], bits: int | None = None) -> str:
    told = settings.get("quant_method")
    method = told if isinstance(told, str) and told else usual
    bits = bits or _bits(settings)
    name = _NAMES.get(method, shown(method, 40))
    return name if bits is None else f"{name} {bits} bit"
