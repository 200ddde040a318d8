"""A float32 graph whose tensors are rounded to half precision, but for those inside some of its norms."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from normdiag.models.onnx import NormSite
from normdiag.observe.onnx.edit import FLOAT, PREFIX, GraphEdit
from normdiag.observe.onnx.session import TensorType
from normdiag.precision.onnx.fused import can_be_written_out, write_out
from normdiag.precision.onnx.rounder import Rounder
from normdiag.records.precision import Half

# These write values that they were given: rounding them again changes nothing.
_MOVES = frozenset(
    [
        *("Constant", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Gather"),
        *("GatherElements", "GatherND", "Concat", "Split", "Expand", "Tile", "SpaceToDepth", "DepthToSpace"),
    ]
)
_MEANS = frozenset({"ReduceMean", "GlobalAveragePool"})


def rounded_graph(
    proto: Any, types: Mapping[str, TensorType], kept: Sequence[NormSite], summed: Sequence[NormSite], target: Half
) -> Any:
    """The edited onnx.ModelProto.

    `types` are those of the tensors that nodes write. The nodes of the `kept` norms compute in float32 on rounded
    input, and only what they put out is rounded; those of the `summed` norms store their sums in the format as well.
    """
    rounder = Rounder(GraphEdit(proto), target)
    inside = {index for site in kept for index in site.nodes}
    exact = {name for index in inside for name in proto.graph.node[index].output} - {site.output for site in kept}
    fused = [site for site in summed if can_be_written_out(site, types)]
    exact |= {site.output for site in fused}
    floats = {name for name, kind in types.items() if kind.element == "tensor(float)" and name not in exact}
    twins, inputs = _twins(rounder, proto), {each.name for each in proto.graph.input}
    means = {i for site in summed if len(site.nodes) > 1 for i in site.nodes if proto.graph.node[i].op_type in _MEANS}
    for index, node in enumerate(rounder.edit.model.graph.node):
        given = [name for name in node.input if name in twins and (index not in inside or name in inputs)]
        node.input[:] = [twins[name] if name in given else name for name in node.input]
        if node.op_type not in _MOVES:
            _round_outputs(rounder, index, floats, stored=index in means)
    for site in fused:
        write_out(rounder, site, types)
    return rounder.edit.build()


def _round_outputs(rounder: Rounder, index: int, floats: Collection[str], *, stored: bool) -> None:
    """Round what a node writes, and where it is `stored` as a sum, that sum before."""
    edit = rounder.edit
    node, edit.slot = edit.model.graph.node[index], index + 1
    for place, name in enumerate(node.output):
        if name in floats:
            wide = node.output[place] = f"{PREFIX}wide/{name}"
            rounder.rounded(rounder.stored_sum(wide, node.input[0], wide) if stored else wide, name)


def _twins(rounder: Rounder, proto: Any) -> dict[str, str]:
    """Rounded forms of what the graph starts from, inputs, weights and constants, made where they are first read."""
    from onnx import numpy_helper

    first: dict[str, int] = {}
    for index, node in enumerate(proto.graph.node):
        for name in node.input:
            first.setdefault(name, index)
    edit, twins = rounder.edit, dict[str, str]()
    stored = {tensor.name: tensor for tensor in proto.graph.initializer if tensor.data_type == FLOAT}
    fed = {each.name for each in proto.graph.input if each.type.tensor_type.elem_type == FLOAT}
    for name in first.keys() & (stored.keys() | fed):
        edit.slot = first[name]
        tensor = None if name in fed else stored[name]
        if tensor is None or tensor.data_location == tensor.EXTERNAL:
            twins[name] = rounder.rounded(name)
        else:
            twins[name] = rounder.constant(numpy_helper.to_array(tensor))
    for node in proto.graph.node:
        values = _constant(node)
        if values is not None and node.output[0] in first:
            edit.slot = first[node.output[0]]
            twins[node.output[0]] = rounder.constant(values)
    return twins


def _constant(node: Any) -> Any:
    """The float32 values of a Constant node, or None."""
    from onnx import helper, numpy_helper

    if node.op_type != "Constant" or not node.attribute:
        return None
    name, value = node.attribute[0].name, helper.get_attribute_value(node.attribute[0])
    if name in ("value_float", "value_floats"):
        return np.asarray(value, np.float32)
    return numpy_helper.to_array(value) if name == "value" and value.data_type == FLOAT else None
