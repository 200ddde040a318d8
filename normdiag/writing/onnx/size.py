"""How many bytes the constants of a graph take."""

from __future__ import annotations

import math
from typing import Any

from normdiag.models.onnx import wire
from normdiag.models.onnx.file import tensors_of
from normdiag.writing.onnx.new_tensor import NewTensor
from normdiag.writing.onnx.patch import Items, Patch

_SUB_BYTE = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}


def parameter_bytes(graph: Any) -> int:
    """Initializers and constants in nodes, those of subgraphs included."""
    return sum(tensor_bytes(tensor) for tensor in tensors_of(graph))


def patched_bytes(graph: Any, patch: Patch) -> int:
    """The same of the patched graph."""
    parts = {wire.NODE: graph.node, wire.INITIALIZER: graph.initializer}
    gone = sum(_bytes((parts[number][i],)) for number, i in patch.graph if number in parts)
    new = sum(_bytes(items) for (number, _), items in patch.graph.items() if number in parts)
    return parameter_bytes(graph) - gone + new + _bytes(patch.added.get(wire.INITIALIZER, ()))


def tensor_bytes(tensor: Any) -> int:
    """Of an onnx.TensorProto."""
    from onnx import TensorProto, helper

    count = math.prod(tensor.dims)
    try:
        name = TensorProto.DataType.Name(tensor.data_type)
        bits = _SUB_BYTE.get(name) or 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, ValueError, TypeError):  # strings, and types of later versions
        return 0
    return int(-(-count * bits // 8))


def _bytes(items: Items) -> int:
    return sum(_item_bytes(item) for item in items)


def _item_bytes(item: Any) -> int:
    import onnx

    if isinstance(item, NewTensor):
        return item.nbytes
    if isinstance(item, onnx.NodeProto):
        return parameter_bytes(onnx.GraphProto(node=[item]))
    return tensor_bytes(item)
