"""Checks an OpGraph against what the model really computes: every record of it, on real values, by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from normdiag.graph.importers.onnx import op_graph
from normdiag.models.onnx.external import TensorReader
from normdiag.records import (
    Add,
    Concat,
    Constant,
    Conv,
    Detail,
    Linear,
    Norm,
    Op,
    Opaque,
    OpGraph,
    Pass,
    Reshape,
    ScaleShift,
    Split,
    Take,
    Transpose,
    Window,
)
from tests.nets.onnx.text import from_text
from tests.nets.onnx.values import outputs_of, random_feeds, values_of

Array = NDArray[Any]


def read(model: onnx.ModelProto, path: Path = Path("model.onnx")) -> OpGraph:
    """Its OpGraph."""
    return op_graph(model, TensorReader(path))


def read_text(text: str, opset: int = 17, **arrays: Array) -> OpGraph:
    """The OpGraph of a model written down as text."""
    return read(from_text(text, opset, **arrays))


def only(graph: OpGraph, kind: type[Any]) -> Op:
    """The one operation with such a detail."""
    (op,) = [op for op in graph.ops if isinstance(op.detail, kind)]
    return op


def by_output(graph: OpGraph, tensor: str) -> Op:
    """The operation that writes a tensor."""
    (op,) = [op for op in graph.ops if tensor in op.outputs]
    return op


def why(graph: OpGraph, tensor: str) -> str:
    """What keeps an affine map from passing the operation that writes a tensor."""
    detail = by_output(graph, tensor).detail
    assert isinstance(detail, Opaque), detail
    return detail.why


def check(model: onnx.ModelProto, feeds: Mapping[str, Array], path: Path = Path("model.onnx")) -> OpGraph:
    """The OpGraph of a model, checked node by node and tensor by tensor."""
    graph = read(model, path)
    values = run(model, feeds, path)
    _check_structure(graph, model)
    _check_sizes(graph, values)
    for op in graph.ops:
        values.update(_between(graph, op, values))
        _check_detail(op, op.detail, model, values)
    return graph


def _between(graph: OpGraph, op: Op, values: Mapping[str, Array]) -> Mapping[str, Array]:
    """What a step of a node hands to the next, which is in no file: by the record alone."""
    if op.outputs[:1] == ("",) or op.outputs[0] in values or op.kind == "constant":
        return {}
    (moved,) = _moved(op.detail, [values[name] for name in op.inputs])
    sizes = [-1 if size.known is None else size.known for size in graph.sizes[op.outputs[0]]]
    return {op.outputs[0]: moved.reshape(sizes)}


def check_text(text: str, opset: int = 17, dims: Mapping[str, int] | None = None, **arrays: Array) -> OpGraph:
    """The same of a model written down as text, on random inputs of its declared shapes."""
    model = from_text(text, opset, **arrays)
    return check(model, random_feeds(model, dims))


def run(model: onnx.ModelProto, feeds: Mapping[str, Array], path: Path = Path("model.onnx")) -> dict[str, Array]:
    """All tensors of the main graph."""
    written = {name for node in model.graph.node for name in node.output if name}
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    wanted = written | {value.name for value in model.graph.output}
    return {**stored, **feeds, **values_of(model, wanted, feeds)}


def _check_structure(graph: OpGraph, model: onnx.ModelProto) -> None:
    """Every node belongs to one operation, each runs after those whose outputs it reads, and none has a name twice."""
    nodes = sorted({(index, op.operator) for op in graph.ops for index in op.nodes})
    assert [index for index, _ in nodes] == list(range(len(model.graph.node)))
    assert len({op.name for op in graph.ops}) == len(graph.ops)
    written = set(graph.inputs)
    for op in graph.ops:
        if op.kind != "constant":
            assert written.issuperset(op.inputs), op
        written.update(op.outputs)
    assert written.issuperset(name for name in graph.outputs if name not in _stored(model))


def _stored(model: onnx.ModelProto) -> set[str]:
    return {tensor.name for tensor in model.graph.initializer}


def _check_sizes(graph: OpGraph, values: Mapping[str, Array]) -> None:
    """Numbers are right, and there is one assignment of numbers to symbols that explains all the others."""
    symbols: dict[str, int] = {}
    rest = []
    for name, value in values.items():
        if name in graph.dtypes:
            assert graph.dtypes[name] == value.dtype.name, name
        if name in graph.sizes:
            assert len(graph.sizes[name]) == value.ndim, name
            rest += [(name, size, dim) for size, dim in zip(graph.sizes[name], value.shape, strict=True)]
    for name, size, dim in rest:
        if len(size.symbols) == 1 and size.factor:
            assert symbols.setdefault(size.symbols[0], dim // size.factor) * size.factor == dim, (name, size, dim)
    for name, size, dim in rest:
        if all(symbol in symbols for symbol in size.symbols):
            assert size.factor * int(np.prod([symbols[s] for s in size.symbols])) == dim, (name, size, dim)


def _check_detail(op: Op, detail: Detail, model: onnx.ModelProto, values: Mapping[str, Array]) -> None:
    if isinstance(detail, Conv):
        _check_conv(op, detail, model, values)
    elif isinstance(detail, Window):
        _check_window(op, detail, model, values)
    outputs = [values[name] for name in op.outputs if name in values]
    expected = _moved(detail, [values[name] for name in op.inputs]) or _computed(
        detail, [values[name] for name in op.inputs]
    )
    for found, wanted in zip(outputs, expected, strict=False):
        _close(found, np.asarray(wanted).reshape(found.shape) if isinstance(detail, Reshape) else wanted, op)


def _moved(detail: Detail, inputs: Sequence[Array]) -> Sequence[Array]:
    """What operations that only move elements give."""
    match detail:
        case Pass() | Reshape():
            return inputs[:1]
        case Transpose(perm):
            return [inputs[0].transpose(perm)]
        case Concat(axis):
            return [np.concatenate(inputs, axis)]
        case Split(axis, parts):
            assert sum(parts) == inputs[0].shape[axis]
            return np.split(inputs[0], list(accumulate(parts))[:-1], axis)
        case Take(axis, picks, removed):
            found = [inputs[0].take(list(each), axis) for each in picks if each is not None]
            return [each.squeeze(axis) if removed else each for each in found]
    return ()


def _computed(detail: Detail, inputs: Sequence[Array]) -> Sequence[Array]:
    """What affine operations give."""
    match detail:
        case Add(signs):
            return [np.asarray(sum(sign * each for sign, each in zip(signs, inputs, strict=True)))]
        case Constant(value):
            assert value.read().dtype.name == value.dtype
            return [value.read()]
        case ScaleShift(scale, shift):
            assert scale.ndim == shift.ndim == inputs[0].ndim
            return [inputs[0] * scale + shift]
        case Norm(scale=scale, shift=shift, axis=axis) if scale is not None and shift is not None:
            along = [-1 if i == axis % inputs[0].ndim else 1 for i in range(inputs[0].ndim)]
            return [inputs[0] * scale.reshape(along) + shift.reshape(along)]
        case Linear():
            return [_product(detail, inputs[0])]
    return ()


def _close(found: Array, wanted: Array, op: Op) -> None:
    largest = np.abs(wanted).max(initial=0) if wanted.dtype.kind == "f" else 0
    np.testing.assert_allclose(found, wanted, 1e-3, 1e-5 * (1 + largest), err_msg=op.name)


def _product(linear: Linear, x: Array) -> Array:
    """Weight with its channels in the order (..., in, out), data with its channels last."""
    weight = np.moveaxis(linear.weight.read().astype(np.float64), (linear.in_axis, linear.out_axis), (-2, -1))
    data = np.moveaxis(x.astype(np.float64), linear.input_axis, -1)
    product = np.moveaxis(np.matmul(data, weight), -1, linear.channel_axis)
    bias = 0.0 if linear.bias is None else linear.bias.read().astype(np.float64)
    return linear.alpha * product + linear.beta * bias


def again(op: Op, model: onnx.ModelProto, values: Mapping[str, Array], data: Array) -> Array:
    """The first output of an operation whose first input is other data, which an earlier step may have reshaped."""
    nodes = [model.graph.node[index] for index in op.nodes]
    inner = {name for node in nodes for name in node.output}
    names = dict.fromkeys(name for node in nodes for name in node.input if name and name not in inner)
    first = op.inputs[0] if op.inputs[0] in names else next(iter(names))
    feeds = {name: values[name] for name in names} | {first: data.reshape(values[first].shape)}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(feeds[name].dtype), feeds[name].shape)
        for name in names
    ]
    graph = helper.make_graph(nodes, "part", inputs, [onnx.ValueInfoProto(name=op.outputs[0])])
    part = helper.make_model(graph, opset_imports=model.opset_import, ir_version=8)
    return outputs_of(part, feeds)[op.outputs[0]]


def _check_conv(op: Op, conv: Conv, model: onnx.ModelProto, values: Mapping[str, Array]) -> None:
    """Channels as they are said to lie; a constant stays constant where nothing is padded."""
    x, y, weight = values[op.inputs[0]], values[op.outputs[0]], conv.weight.read()
    into, out = (weight.shape[0], weight.shape[1] * conv.groups) if conv.transposed else weight.shape[1::-1]
    assert x.shape[1] == (into if conv.transposed else into * conv.groups)
    assert y.shape[1] == out
    flat = np.ones(x.shape, x.dtype) * np.arange(1, x.shape[1] + 1, dtype=x.dtype).reshape(-1, *(1,) * (x.ndim - 2))
    result = again(op, model, values, flat)
    steady = np.ptp(result.reshape(*result.shape[:2], -1), axis=-1).max() <= 1e-3 * np.abs(result).max()
    assert conv.padded or steady, op.name


def _check_window(op: Op, window: Window, model: onnx.ModelProto, values: Mapping[str, Array]) -> None:
    """What the record says commutes does: factors, and constants, that vary along the axes that are not mixed."""
    x, y = values[op.inputs[0]], values[op.outputs[0]]
    if x.dtype.kind != "f":
        return
    rng = np.random.default_rng(5)
    shape = [1 if axis in window.axes else size for axis, size in enumerate(x.shape)]
    scale = rng.normal(size=shape).astype(x.dtype)
    scale = np.abs(scale) if window.scale == "non_negative" else scale
    shift = rng.normal(size=shape).astype(x.dtype) if window.shift else np.zeros_like(scale)
    outside = [values_.squeeze(window.axes) if window.removed else values_ for values_ in (scale, shift)]
    found = again(op, model, values, scale * x + shift)
    _close(found, outside[0] * y + np.float64(window.total).astype(x.dtype) * outside[1], op)
