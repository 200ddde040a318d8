"""Read an ONNX file into an OnnxProgram."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from normdiag.models.onnx.file import open_onnx
from normdiag.models.onnx.parse import check_names, dimensions, inline_functions, subgraphs
from normdiag.models.onnx.program import OnnxProgram
from normdiag.records import InputSpec

# The element types that hold parameters: float, double, half and bfloat16, by their numbers in onnx.TensorProto.
FLOATS = frozenset({1, 10, 11, 16})


def load_onnx(path: Path) -> OnnxProgram:
    """The program in an ONNX file, whose layers are still to be found (graph.open_model). Nothing is run.

    Raises InputError where the file is damaged, incomplete, or points outside its folder.
    """
    file = open_onnx(path)
    model = inline_functions(file.proto, path)
    check_names(model.graph, path)
    return OnnxProgram(
        proto=model,
        reader=file.reader,
        folder=path.parent,
        inputs=input_specs(model.graph),
        outputs=output_specs(model.graph),
        parameters=count_parameters(model.graph),
        notes=_notes(model),
    )


def count_parameters(graph: Any) -> int:
    """Number of weights in an onnx.GraphProto and the bodies of its nodes: floating-point or stored quantized.

    Initializers, and Constant nodes of more than one element, in which some exporters keep all weights.
    """
    linear = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    quantized = {name for node in linear if node.op_type == "DequantizeLinear" for name in node.input[:1]}
    scales = {name for node in linear for name in node.input[1:2]}
    constants = [node for node in graph.node if node.op_type == "Constant" and not node.domain]
    literals = ((node.output[0], each.t) for node in constants for each in node.attribute if each.name == "value")
    stored = [(tensor.name, tensor) for tensor in graph.initializer]
    stored += [(name, tensor) for name, tensor in literals if math.prod(tensor.dims) > 1]
    own: int = sum(
        math.prod(tensor.dims)
        for name, tensor in stored
        if name in quantized or (tensor.data_type in FLOATS and name not in scales)
    )
    return own + sum(count_parameters(body) for node in graph.node for body in subgraphs(node))


def input_specs(graph: Any) -> tuple[InputSpec, ...]:
    """The graph inputs that a user must feed: before IR version 4 initializers are listed among them."""
    initialized = {tensor.name for tensor in graph.initializer}
    return tuple(
        InputSpec(value.name, _dtype(value), dimensions(value))
        for value in graph.input
        if value.name not in initialized
    )


def output_specs(graph: Any) -> tuple[InputSpec, ...]:
    """The graph outputs, declared as inputs are."""
    return tuple(InputSpec(value.name, _dtype(value), dimensions(value)) for value in graph.output)


def _dtype(value: Any) -> str:
    from onnx import helper

    try:
        return np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)).name
    except (KeyError, TypeError, ValueError):
        return "unknown"


def _notes(model: Any) -> tuple[str, ...]:
    left = sorted({f.name for f in model.functions})
    return (f"local functions of other operator sets were not looked into: {', '.join(left)}",) if left else ()
