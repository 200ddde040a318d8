"""Edits of single layers: new weights and biases, norms that go, that lose gamma and beta, or that become an Add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from normdiag.errors import InputError
from normdiag.folding.floats import as_dtype
from normdiag.folding.onnx.draft import ModelEdits
from normdiag.graph.importers.onnx.names import parameter_prefix
from normdiag.records import Op, OpGraph
from normdiag.records.model import Array
from normdiag.records.ops import Norm, Parameter
from normdiag.writing.onnx.new_tensor import NewTensor, constant

# Where scale and bias of a normalization operator stand among its inputs; None where it cannot have a bias.
_AFFINE: Mapping[str, tuple[int, int | None]] = {
    "BatchNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "GroupNorm": (1, 2),
    "LayerNormalization": (1, 2),
    "RMSNormalization": (1, None),
    "SimplifiedLayerNormalization": (1, None),
    "SkipLayerNormalization": (2, 3),
    "SkipSimplifiedLayerNormalization": (2, None),
}


@dataclass(frozen=True)
class Layer:
    """An op in the draft: `path` are those of its nodes that its data goes through, `data` the tensors on that way.

    `input` is the first of them, by its name before tensors are merged.
    """

    op: Op
    path: tuple[int, ...]
    data: frozenset[str]
    input: str

    @property
    def output(self) -> str:
        """The tensor that it writes, by its name in the original."""
        return self.op.outputs[0]


def find_layer(draft: ModelEdits, op: Op) -> Layer:
    """Tell the nodes that the data goes through from those that only prepare a constant.

    Raises InputError where there are none.
    """
    inputs = [draft.replaced.get(name, name) for name in op.inputs]
    data, path = set(inputs), []
    for index in op.nodes:
        node = draft.node(index)
        if node is not None and not data.isdisjoint(node.input):
            path.append(index)
            data.update(name for name in node.output if name)
    if not path:
        raise InputError(f"{draft.source.path}: {op.name!r} cannot be found in the graph again")
    return Layer(op, tuple(path), frozenset(data), inputs[0])


def set_weights(draft: ModelEdits, layer: Layer, weight: NewTensor | None, bias: NewTensor | None) -> None:
    """New weight and bias of a convolution or a product with a matrix; None for what stays as it is."""
    product, *adds = layer.path
    node = draft.node(product)
    slot = 1 if layer.op.kind in ("conv", "conv_transpose") or node.input[0] in layer.data else 0
    names = _stem(node.input[slot], layer.op.name)
    if weight is not None:
        draft.set_constant(product, slot, weight, f"{names}.weight")
    if bias is None:
        return
    if adds:
        index = adds[-1]
        draft.set_constant(index, _constant_slot(draft, index, layer), bias, f"{names}.bias")
    elif node.op_type in ("Conv", "ConvTranspose", "Gemm"):
        draft.set_constant(product, 2, bias, f"{names}.bias")
        _drop_attribute(draft.edited(product), "beta")
    else:
        _append(draft, product, "Add", bias, f"{names}.bias")


def set_affine(draft: ModelEdits, layer: Layer, gamma: NewTensor | None, beta: NewTensor | None) -> None:
    """New gamma and beta of a normalization that stays."""
    detail = layer.op.detail
    assert isinstance(detail, Norm)
    for tensor, kind, old in ((gamma, "Mul", detail.gamma), (beta, "Add", detail.beta)):
        if tensor is None:
            continue
        hint = f"{layer.op.name}.{'weight' if kind == 'Mul' else 'bias'}"
        place = _affine_slot(draft, layer, kind, old)
        if place is None:
            _append(draft, layer.path[-1], kind, tensor, hint)
        else:
            draft.set_constant(*place, tensor, hint)


def strip(draft: ModelEdits, layer: Layer) -> None:
    """Take gamma and beta out of a normalization: a scale that its operator insists on becomes ones."""
    detail = layer.op.detail
    assert isinstance(detail, Norm)
    for kind, old in (("Mul", detail.gamma), ("Add", detail.beta)):
        place = _affine_slot(draft, layer, kind, old) if old is not None else None
        if old is None or place is None:
            continue
        if draft.node(place[0]).op_type == kind:
            _bypass(draft, place[0], layer)
        elif kind == "Add":
            draft.drop_input(*place)
        else:
            draft.set_constant(*place, constant(np.ones(old.shape, as_dtype(old.dtype))), old.name)


def rebuild(draft: ModelEdits, layer: Layer, scale: Array | None, shift: Array | None) -> None:
    """Let a Mul and an Add, or one of them, take the place of a layer; None for what is not needed."""
    steps = [
        (op, name, values)
        for op, name, values in (("Mul", "scale", scale), ("Add", "shift", shift))
        if values is not None
    ]
    _take_out(draft, layer)
    current = layer.input
    for place, (op, name, values) in enumerate(steps):
        final = place == len(steps) - 1
        output = layer.output if final else draft.fresh(f"{layer.output}_scaled")
        stored = draft.constant(constant(values), f"{layer.op.name}.{name}")
        draft.insert(layer.path[-1], op, [current, stored], output, f"{layer.op.name}_{name}")
        current = output


def set_value(draft: ModelEdits, graph: OpGraph, op: Op, tensor: NewTensor) -> None:
    """A new value for a constant among the data: for the ops that read it as data, and for no other."""
    name = op.outputs[0]
    nodes = {index for reader in graph.ops if name in reader.inputs for index in reader.nodes}
    places = [(index, slot) for index in sorted(nodes) for slot in draft.slots(index, name)]
    draft.replace_constant(name, places, tensor)


def remove(draft: ModelEdits, layer: Layer, *, upstream: bool) -> None:
    """Take a normalization out; its input and its output become one tensor.

    Upstream that has the output's name, since it has the output's values; else the input's.
    """
    before, after = draft.resolved(layer.input), draft.resolved(layer.output)
    _take_out(draft, layer)
    if upstream:
        draft.merge(before, after)
    else:
        draft.merge(after, before)


def drop_term(draft: ModelEdits, graph: OpGraph, op: Op, place: int) -> None:
    """Let a sum go without the term at one place; a sum of one term goes itself."""
    (index,), term, output = op.nodes, op.inputs[place], op.outputs[0]
    rest = [name for name in draft.node(index).input if name != term]
    if len(rest) > 1:
        draft.read_only(index, rest)
        return
    draft.remove(index, {*rest, term})
    whole, left = draft.resolved(output), draft.resolved(rest[0])
    if whole in graph.outputs:
        draft.merge(left, whole)
    else:
        draft.merge(whole, left)


def _take_out(draft: ModelEdits, layer: Layer) -> None:
    for index in layer.path:
        draft.remove(index, set(layer.data))


def _append(draft: ModelEdits, index: int, op: str, tensor: NewTensor, hint: str) -> None:
    """An elementwise node after another, whose output keeps its name."""
    node = draft.edited(index)
    output = node.output[0]
    node.output[0] = draft.fresh(f"{output}_before_{op.lower()}")
    stored = draft.constant(tensor, hint)
    draft.insert(index, op, [node.output[0], stored], output, f"{node.name or output}_{op.lower()}")


def _bypass(draft: ModelEdits, index: int, layer: Layer) -> None:
    """Take an elementwise node out of a layer that stays."""
    node = draft.node(index)
    source = next(name for name in node.input if name in layer.data)
    draft.remove(index, set(layer.data))
    draft.merge(node.output[0], source)


def _affine_slot(draft: ModelEdits, layer: Layer, kind: str, old: Parameter | None) -> tuple[int, int] | None:
    """Node and input where gamma ('Mul') or beta ('Add') stands or may stand."""
    first = draft.node(layer.path[0])
    if len(layer.path) == 1 and first.op_type in _AFFINE:
        slot = _AFFINE[first.op_type][kind == "Add"]
        return None if slot is None else (layer.path[0], slot)
    if old is None:
        return None
    for index in reversed(layer.path):
        node = draft.node(index)
        for slot, name in enumerate(node.input if node is not None else ()):
            if node.op_type == kind and name not in layer.data and draft.comes_from(name, old.name):
                return index, slot
    raise InputError(f"{draft.source.path}: {old.name!r} of {layer.op.name!r} cannot be found in the graph")


def _constant_slot(draft: ModelEdits, index: int, layer: Layer) -> int:
    return next(slot for slot, name in enumerate(draft.node(index).input) if name not in layer.data)


def _drop_attribute(node: Any, name: str) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    if len(kept) < len(node.attribute):
        del node.attribute[:]
        node.attribute.extend(kept)


def _stem(weight: str, layer: str) -> str:
    return parameter_prefix(weight) or layer
