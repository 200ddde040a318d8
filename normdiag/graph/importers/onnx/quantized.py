"""QuantizeLinear and DequantizeLinear of constants: parameters as quantization tools store them, read as floats.

https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html and onnx__QuantizeLinear.html.
"""

from __future__ import annotations

import numpy as np

from normdiag.graph.importers.onnx.nodes import Node
from normdiag.records.model import Array


def dequantized(node: Node, values: list[Array]) -> Array:
    """(x - zero_point) * scale, in the type of the scale. Raises ValueError for shapes that do not fit together."""
    data, scale, *rest = values
    scale, zero = _beside(node, data, scale, rest)
    wide = data.astype(np.int64) - zero.astype(np.int64) if data.dtype.kind in "iu" else data.astype(np.float32)
    with np.errstate(all="ignore"):
        return np.asarray(wide.astype(scale.dtype) * scale)


def quantized(node: Node, values: list[Array]) -> Array:
    """round(x / scale) + zero_point, halves to even, within the range of an integer type.

    Raises ValueError for another type, and for shapes that do not fit together.
    """
    data, scale, *rest = values
    scale, zero = _beside(node, data, scale, rest)
    if zero.dtype.kind not in "iu":
        raise ValueError("not quantized to an integer type that numpy has")
    limits = np.iinfo(zero.dtype)
    with np.errstate(all="ignore"):
        levels = np.rint(data / scale) + zero.astype(np.float64)
        return np.asarray(np.nan_to_num(np.clip(levels, limits.min, limits.max)).astype(zero.dtype))


def _beside(node: Node, data: Array, scale: Array, rest: list[Array]) -> tuple[Array, Array]:
    """Scale and zero point in shapes that broadcast with the data: one in all, one a channel, or one a block."""
    if scale.dtype.kind in "iub":
        raise ValueError("the scale is not a floating-point number")
    zero = rest[0] if rest else np.zeros(scale.shape, np.uint8)
    if scale.size == zero.size == 1:
        return scale.reshape(()), zero.reshape(())
    if zero.shape != scale.shape:
        raise ValueError("scale and zero point are not of one shape")
    axis = range(data.ndim)[node.integer("axis", 1)]
    block = node.integer("block_size", 0)
    if block:
        return _spread(scale, data, axis, block), _spread(zero, data, axis, block)
    shape = [1] * data.ndim
    shape[axis] = data.shape[axis]
    return scale.reshape(shape), zero.reshape(shape)


def _spread(values: Array, data: Array, axis: int, block: int) -> Array:
    """Each value for its block along the axis, the last of which may be cut off."""
    if values.ndim != data.ndim or -(-data.shape[axis] // block) != values.shape[axis]:
        raise ValueError("blocks that do not fit the data")
    return values.take(np.arange(data.shape[axis]) // block, axis)
