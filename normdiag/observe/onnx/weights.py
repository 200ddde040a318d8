"""Weights apart from the graph, so that every session reads the same copy and graphs are cheap to edit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from normdiag.models.onnx.external import TensorReader
from normdiag.models.onnx.parse import subgraphs
from normdiag.observe.onnx.ort import import_onnxruntime

# Smaller tensors stay in the graph: shapes and other constants that its edits look at.
_LEAST_ELEMENTS = 1024
# float, uint8, int8, int32, int64, half, double: what numpy holds without help.
_PLAIN_TYPES = frozenset({1, 2, 3, 6, 7, 10, 11})
_CONVOLUTIONS, _KERNEL = frozenset({"Conv", "ConvTranspose"}), 1
_PLACEHOLDER = "normdiag-in-memory"  # where the graph says these weights are; never opened, onnxruntime asks us first


@dataclass(frozen=True, eq=False)
class Skeleton:
    """An onnx.ModelProto without its large weights, and these as onnxruntime.OrtValue by name."""

    proto: Any
    weights: Mapping[str, Any]


def split_weights(model: Any, reader: TensorReader) -> Skeleton:
    """Take the large weights inside the file out of a copy of a model, to be run; external data stay where they are."""
    import onnx

    ort_value = import_onnxruntime().OrtValue
    proto = onnx.ModelProto()
    _copy_fields(model, proto, but="graph")
    _copy_fields(model.graph, proto.graph, but="initializer")
    _drop_symbols(proto.graph)
    weights = {}
    read = tensors_read(model.graph)
    names = Counter(tensor.name for tensor in model.graph.initializer)
    for tensor in model.graph.initializer:
        kept = proto.graph.initializer.add()
        inside = tensor.data_location == tensor.DEFAULT and names[tensor.name] == 1
        if tensor.name not in read or not inside or not is_large(tensor.data_type, tensor.dims):
            kept.CopyFrom(tensor)
            reader.complete(kept)
            continue
        kept.CopyFrom(reference(tensor.name, tensor.data_type, tensor.dims))
        weights[tensor.name] = ort_value.ortvalue_from_numpy(reader.array(tensor))
    return Skeleton(proto, weights)


def _drop_symbols(graph: Any) -> None:
    """Forget sizes that a graph calls by a name, but for its inputs.

    Exporters give one name to sizes that differ, and onnxruntime puts tensors of equal names into one buffer.
    """
    for value in (*graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if any(dim.HasField("dim_param") for dim in tensor.shape.dim):
            tensor.ClearField("shape")


def tensors_read(graph: Any) -> set[str]:
    """The names of all tensors that nodes of a graph and of its subgraphs read, and of the graph's outputs."""
    names = {each.name for each in graph.output}
    for node in graph.node:
        names.update(node.input)
        for body in subgraphs(node):
            names |= tensors_read(body)
    return names


def kernels(graph: Any) -> set[str]:
    """The tensors whose values convolutions of the main graph read as their kernels, and nobody else does.

    All sessions can share these: where onnxruntime's optimizers change a kernel, the new one has a name of its own.
    What other nodes read may be transposed under its old name.
    """
    found: set[str] = set()
    others = {each.name for each in graph.output}
    for node in graph.node:
        inputs = list(node.input) if node.op_type != "Shape" else []
        if node.op_type in _CONVOLUTIONS:
            found.update(inputs[_KERNEL : _KERNEL + 1])
            del inputs[_KERNEL : _KERNEL + 1]
        others.update(inputs, *(tensors_read(body) for body in subgraphs(node)))
    return found - others


def is_large(data_type: int, dims: Sequence[int]) -> bool:
    """Whether a tensor is worth holding apart from the graph, and can be."""
    return data_type in _PLAIN_TYPES and math.prod(dims) >= _LEAST_ELEMENTS


def reference(name: str, data_type: int, dims: Sequence[int]) -> Any:
    """The onnx.TensorProto that stands in the graph for a weight which onnxruntime is handed beside it."""
    import onnx

    tensor = onnx.TensorProto(name=name, data_type=data_type, dims=dims, data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=_PLACEHOLDER)
    return tensor


def _copy_fields(source: Any, target: Any, but: str) -> None:
    for field, value in source.ListFields():
        if field.name == but:
            continue
        if hasattr(value, "MergeFrom"):  # repeated fields and messages
            getattr(target, field.name).MergeFrom(value)
        else:
            setattr(target, field.name, value)
