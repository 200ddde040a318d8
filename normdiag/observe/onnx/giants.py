"""Tensors that a graph makes out of a shape alone: a few bytes in a file can ask for all memory there is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from normdiag.errors import InputError
from normdiag.models.onnx.parse import walk_nodes

# Elements, of all such tensors together: 2 GiB of float32. Masks of the longest contexts stay below it.
MOST_MADE = 2**29
# Which input holds the shape; the last one of Resize, its sizes, may be left out.
_SHAPE_INPUT = {"ConstantOfShape": 0, "Expand": 1, "Resize": 3}
_SHAPE_ATTRIBUTE = frozenset({"RandomNormal", "RandomUniform"})


def refuse_giants(graph: Any, where: str) -> None:
    """Raise InputError for a graph (onnx.GraphProto) that makes tensors of more elements than a machine should hold."""
    total = 0
    shapes = _shapes(graph)
    for node in walk_nodes(graph.node):
        made = math.prod(_made(node, shapes))
        total += made
        if total > MOST_MADE:
            raise InputError(
                f"{where}: {node.op_type} {node.name or node.output[0]!r} makes a tensor of {made:,} elements out of a "
                f"shape alone; more than {MOST_MADE:,} in all are not run"
            )


def _made(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of what the node makes, where that is constant; (0,) for all other nodes."""
    if node.op_type in _SHAPE_ATTRIBUTE:
        return next((tuple(each.ints) for each in node.attribute if each.name == "shape"), (0,))
    place = _SHAPE_INPUT.get(node.op_type)
    name = node.input[place] if place is not None and place < len(node.input) else ""
    return tuple(max(size, 1) for size in shapes[name]) if name in shapes else (0,)


def _shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    """Short integer constants by name, of all subgraphs."""
    return {name: values for name, tensor in _constants(graph) if (values := _integers(tensor)) is not None}


def _constants(graph: Any) -> Iterator[tuple[str, Any]]:
    yield from ((tensor.name, tensor) for tensor in graph.initializer)
    for node in walk_nodes(graph.node):
        if node.op_type == "Constant" and node.output:
            yield from ((node.output[0], each.t) for each in node.attribute if each.name == "value")


def _integers(tensor: Any) -> tuple[int, ...] | None:
    from onnx import numpy_helper

    if tensor.data_type != tensor.INT64 or math.prod(tensor.dims) > 16 or tensor.data_location == tensor.EXTERNAL:
        return None
    try:
        return tuple(int(each) for each in numpy_helper.to_array(tensor).reshape(-1))
    except (ValueError, TypeError):
        return None
