"""Element types and dimensions by ONNX's own shape inference, on a copy of the graph without anything large.

What a file declares about its own intermediate tensors may be wrong, and is left out: all that is found follows from
the graph inputs, the constants and the operators.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from normdiag.graph.importers.onnx.nodes import DOMAINS
from normdiag.models.onnx.parse import dimensions, subgraphs
from normdiag.records import Size, Sizes

# Larger constants carry no shape; inference needs their own shape alone.
MAX_ELEMENTS = 512
Dims = tuple[Size | None, ...]


@dataclass(frozen=True, eq=False)
class Inferred:
    """What is known of tensors by name: dimensions (None for one that is free without a name) and numpy type names."""

    dims: Mapping[str, Dims]
    dtypes: Mapping[str, str]


def infer(model: Any) -> Inferred:
    """The tensors of the main graph. Inference that fails leaves inputs and initializers.

    Without ONNX's own propagation of shape values, which counts through a tensor of any declared size; value_rules.py
    has that.
    """
    from onnx import shape_inference

    small = _skeleton(model)
    dims, dtypes = _read(small.graph)
    try:
        found = shape_inference.infer_shapes(small)
    except Exception:  # what C++ raises has no common type; a graph that defeats inference is still a graph
        return Inferred(dims, dtypes)
    more_dims, more_dtypes = _read(found.graph)
    return Inferred({**more_dims, **dims}, {**more_dtypes, **dtypes})


def input_sizes(graph: Any) -> Mapping[str, Sizes]:
    """The declared dimensions of the graph inputs; one without a name gets one of its own."""
    taken = {_symbol(dim) for value in graph.input for dim in value.type.tensor_type.shape.dim}
    sizes: dict[str, Sizes] = {}
    for value in graph.input:
        if value.type.HasField("tensor_type") and dimensions(value) is not None:
            dims = value.type.tensor_type.shape.dim
            sizes[value.name] = tuple(_size(dim, fresh(value.name, i, taken)) for i, dim in enumerate(dims))
    return sizes


def fresh(tensor: str, axis: int, taken: Set[str] = frozenset()) -> str:
    """The symbol of a dimension of which nothing is known."""
    name = f"{tensor}[{axis}]"
    while name in taken:
        name += "'"
    return name


def constants_of(graph: Any) -> Inferred:
    """What the constants of a graph say of themselves: all that is inferred of the body of an If, Loop or Scan."""
    found = list(_constants(graph))
    dims = {name: tuple(Size(int(dim)) for dim in shape) for name, _, shape in found}
    dtypes = {name: dtype for name, number, _ in found if (dtype := dtype_name(number)) is not None}
    return Inferred(dims, dtypes)


def declared_shapes(graph: Any) -> Mapping[str, tuple[int | None, ...]]:
    """What a graph says of its tensors, None for a free dimension."""
    values = (*graph.value_info, *graph.input, *graph.output)
    return {value.name: shape for value in values if (shape := dimensions(value)) is not None}


@lru_cache(64)
def dtype_name(number: int) -> str | None:
    """The numpy (or ml_dtypes) name of an ONNX element type; None for one that is unknown."""
    from onnx import helper

    try:
        return np.dtype(helper.tensor_dtype_to_np_dtype(number)).name
    except (KeyError, TypeError, ValueError):
        return None


def _skeleton(model: Any) -> Any:
    """The main graph without large constants, declarations, subgraphs and functions."""
    import onnx

    small = onnx.ModelProto(ir_version=max(model.ir_version, 4))
    small.opset_import.extend(model.opset_import)
    graph = small.graph
    graph.name = "skeleton"
    _add_inputs(graph, model.graph)
    for tensor in model.graph.initializer:
        if _is_small(tensor):
            graph.initializer.append(tensor)
        else:
            _declare(graph, tensor.name, tensor.data_type, tensor.dims)
    for node in model.graph.node:
        _add_node(graph, node)
    graph.output.extend(onnx.ValueInfoProto(name=output.name) for output in model.graph.output)
    return small


def _add_inputs(graph: Any, source: Any) -> None:
    """Graph inputs with a name for each free dimension; not the defaults, which are constants here."""
    stored = {tensor.name for tensor in source.initializer}
    sizes = input_sizes(source)
    for value in source.input:
        if value.name in stored or value.name not in sizes:
            continue
        added = graph.input.add(name=value.name)
        added.type.tensor_type.elem_type = value.type.tensor_type.elem_type
        added.type.tensor_type.shape.SetInParent()
        for size in sizes[value.name]:
            dim = added.type.tensor_type.shape.dim.add()
            if size.known is None:
                dim.dim_param = size.symbols[0]
            else:
                dim.dim_value = size.known


def _add_node(graph: Any, node: Any) -> None:
    """A node of the standard, unless it holds a subgraph: what that declares cannot be checked.

    Nor a Split into more parts than it has outputs: inference would list them all.
    """
    parts = next((a.i for a in node.attribute if a.name == "num_outputs"), len(node.output))
    if DOMAINS.get(node.domain, node.domain) or any(subgraphs(node)) or parts != len(node.output):
        return
    large = [a.t for a in node.attribute if a.HasField("t") and not _is_small(a.t)]
    if not large:
        graph.node.append(node)
    elif node.op_type == "Constant" and node.output:
        _declare(graph, node.output[0], large[0].data_type, large[0].dims)


def _is_small(tensor: Any) -> bool:
    """By its dimensions: protobuf hands out copies of the bytes, and counts them by writing them."""
    return bool(tensor.data_location != tensor.EXTERNAL and math.prod(tensor.dims) <= MAX_ELEMENTS)


def _declare(graph: Any, name: str, dtype: int, dims: Any) -> None:
    from onnx import helper

    graph.input.append(helper.make_tensor_value_info(name, dtype, list(dims)))


def _read(graph: Any) -> tuple[dict[str, Dims], dict[str, str]]:
    dims: dict[str, Dims] = {}
    dtypes: dict[str, str] = {}
    for value in (*graph.value_info, *graph.output, *graph.input):
        if not value.type.HasField("tensor_type"):
            continue
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            dims[value.name] = tuple(_inferred(dim) for dim in tensor.shape.dim)
        dtype = dtype_name(tensor.elem_type) if tensor.elem_type else None
        if dtype is not None:
            dtypes[value.name] = dtype
    stored = constants_of(graph)
    return {**dims, **stored.dims}, {**dtypes, **stored.dtypes}


def _constants(graph: Any) -> Iterator[tuple[str, int, Any]]:
    for tensor in graph.initializer:
        yield tensor.name, tensor.data_type, tensor.dims
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.HasField("t"):
                    yield node.output[0], attribute.t.data_type, attribute.t.dims


def _size(dim: Any, symbol: str) -> Size:
    """0 and negative numbers are ways to write 'free'."""
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return Size(int(dim.dim_value))
    return Size(1, (_symbol(dim) or symbol,))


def _symbol(dim: Any) -> str:
    """The name of a free dimension; one that is not UTF-8 comes as bytes, and is none."""
    return dim.dim_param if isinstance(dim.dim_param, str) else ""


def _inferred(dim: Any) -> Size | None:
    if dim.HasField("dim_value"):
        return Size(int(dim.dim_value)) if dim.dim_value >= 0 else None
    return Size(1, (_symbol(dim),)) if _symbol(dim) else None
