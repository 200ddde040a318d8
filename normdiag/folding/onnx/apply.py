"""From a plan to a patch of the file."""

from __future__ import annotations

from typing import Any

import numpy as np

from normdiag.folding.floats import as_dtype
from normdiag.folding.onnx import layers
from normdiag.folding.onnx.draft import ModelEdits
from normdiag.folding.onnx.tensors import new_tensors
from normdiag.folding.ways import ways
from normdiag.models.onnx import wire
from normdiag.records import FoldPlan, LayerEdit, Op, OpGraph
from normdiag.records.model import Array
from normdiag.records.ops import Constant, Conv, Linear, Norm, ScaleShift
from normdiag.writing.onnx.new_tensor import NewTensor
from normdiag.writing.onnx.original import Original
from normdiag.writing.onnx.patch import Items, Patch

_INPUTS_HOLD_INITIALIZERS = 4  # before this version of the format every initializer is listed as an input


def apply_plan(source: Original, graph: OpGraph, plan: FoldPlan) -> ModelEdits:
    """The edited graph. Raises InputError where a layer cannot be found again in the file."""
    draft = ModelEdits(source)
    for index, edit in plan.edits.items():
        _edit(draft, graph, graph.ops[index], edit)
    for index in plan.stripped:
        layers.strip(draft, layers.find_layer(draft, graph.ops[index]))
    for index, shift in plan.shifts.items():
        op = graph.ops[index]
        layers.rebuild(draft, layers.find_layer(draft, op), None, _as_data(shift, graph, op))
    gone = ways(graph, plan)
    for index in plan.removed:
        layers.remove(
            draft, layers.find_layer(draft, graph.ops[index]), upstream=index not in gone or gone[index].upstream
        )
    for index, beside in plan.beside.items():
        layers.drop_term(draft, graph, graph.ops[beside.shortened], beside.place)
        for each in (*beside.passed, index):
            layers.remove(draft, layers.find_layer(draft, graph.ops[each]), upstream=False)
    draft.rename()
    return draft


def make_patch(draft: ModelEdits) -> Patch:
    """What the draft changes, field by field."""
    graph = draft.source.proto.graph
    items: dict[tuple[int, int], Items] = {(wire.NODE, i): tuple(nodes) for i, nodes in draft.nodes.items()}
    for i, tensor in enumerate(graph.initializer):
        if tensor.name in draft.gone:
            items[wire.INITIALIZER, i] = _present(draft.tensors.get(tensor.name))
    added = tuple(tensor for name, tensor in draft.tensors.items() if name not in draft.stored)
    vanished = _vanished(draft)
    changed = {name: tensor for name, tensor in draft.tensors.items() if _differs(tensor, draft.stored.get(name))}
    for i, value in enumerate(graph.input):
        if value.name in vanished or value.name in changed:
            items[wire.INPUT, i] = _present(_as_input(value, changed.get(value.name)))
    for i, value in enumerate(graph.value_info):
        if value.name in vanished or value.name in changed:
            items[wire.VALUE_INFO, i] = ()
    for i, annotation in enumerate(graph.quantization_annotation):
        if annotation.tensor_name in vanished:
            items[wire.ANNOTATION, i] = ()
    listed = draft.source.proto.ir_version < _INPUTS_HOLD_INITIALIZERS
    inputs = tuple(_input(tensor) for tensor in added) if listed else ()
    return Patch(items, {wire.INITIALIZER: added, wire.INPUT: inputs})


def _edit(draft: ModelEdits, graph: OpGraph, op: Op, edit: LayerEdit) -> None:
    weight, bias = new_tensors(op, edit)
    match op.detail:
        case Conv() | Linear():
            layers.set_weights(draft, layers.find_layer(draft, op), weight, bias)
        case Norm():
            layers.set_affine(draft, layers.find_layer(draft, op), weight, bias)
        case ScaleShift():
            scale, shift = (None if each is None else _as_data(each.read(), graph, op) for each in (weight, bias))
            shift = shift if shift is not None and np.any(shift != 0) else None
            scale = scale if shift is None or np.any(scale != 1) else None
            layers.rebuild(draft, layers.find_layer(draft, op), scale, shift)
        case Constant():
            assert weight is not None
            layers.set_value(draft, graph, op, weight)


def _as_data(values: Array, graph: OpGraph, op: Op) -> Array:
    """In the dtype of the data that flows through an op."""
    name = graph.dtypes.get(op.outputs[0]) or graph.dtypes.get(op.inputs[0])
    if name is None and isinstance(op.detail, Norm) and op.detail.gamma is not None:
        name = op.detail.gamma.dtype
    return values if name is None else values.astype(as_dtype(name))


def _vanished(draft: ModelEdits) -> set[str]:
    """Names of tensors that the original has and the result has not."""
    graph = draft.source.proto.graph
    touched = {name for index in draft.nodes for name in graph.node[index].output} | draft.gone
    left = {name for node in draft.present() for name in node.output} | draft.tensors.keys()
    return touched - left


def _differs(tensor: NewTensor, old: Any) -> bool:
    return old is None or (tuple(old.dims), old.data_type) != (tensor.dims, tensor.data_type)


def _present(item: Any) -> Items:
    return () if item is None else (item,)


def _as_input(value: Any, tensor: NewTensor | None) -> Any:
    """The graph input entry of an initializer that has changed its shape; None for one that is gone."""
    if tensor is None:
        return None
    entry = _input(tensor)
    entry.doc_string = value.doc_string
    return entry


def _input(tensor: NewTensor) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
