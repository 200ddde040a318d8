"""What is constant in a graph, wherever it is kept: initializer, Constant node, outer scope, after cheap reshapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from normdiag.graph.importers.onnx.nodes import Graph, Node
from normdiag.graph.importers.onnx.quantized import dequantized, quantized
from normdiag.models.onnx.external import TensorReader
from normdiag.models.onnx.parse import subgraphs
from normdiag.records.model import Array

# No normalization layer has more parameters; a shape in a hostile file may ask for any number.
MAX_ELEMENTS = 2**26
# Tensors that are computed from constants on the way to a parameter are small, however large a file says they are.
MAX_FOLDED = 2**22
# Exporters put one or two reshapes between a parameter and its layer, and ten nodes between the numbers and a Pad.
MAX_DEPTH = 16
MAX_STEPS = 500


@dataclass(frozen=True, eq=False)
class OnnxConstants:
    """Constant tensors as seen from one graph. Arrays are read only when asked for.

    `fixed` names all tensors that depend on constants alone, whether or not their value can be told from here.
    """

    graph: Graph
    reader: TensorReader
    initializers: Mapping[str, Any]
    inputs: frozenset[str]
    fixed: frozenset[str]
    parent: OnnxConstants | None = None

    def array(self, name: str, limit: int = MAX_ELEMENTS) -> Array | None:
        """The value of a tensor, or None where it is not constant or has more than `limit` elements."""
        return self._value(name, limit, MAX_DEPTH, {})

    def _value(self, name: str, limit: int, depth: int, known: dict[str, Array | None]) -> Array | None:
        """`known` are the values computed on the way, so that no tensor is computed twice."""
        tensor = self.initializers.get(name)
        if tensor is not None:
            return self.reader.array(tensor) if math.prod(tensor.dims) <= limit else None
        node = self.graph.producer(name)
        if node is None:
            return self.parent.array(name, limit) if self.parent is not None and self._from_outside(name) else None
        if name not in known:
            known[name] = self._computed(node, limit, depth - 1, known) if depth and name in self.fixed else None
        return known[name]

    def scalar(self, name: str) -> float | None:
        """The value of a constant floating-point or integer tensor of one element."""
        value = self.array(name, 1)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 and _numeric(value) else None

    def integers(self, name: str) -> tuple[int, ...] | None:
        """The values of a short constant integer tensor: axes or a shape."""
        value = self.array(name, 64)
        if value is None or not np.issubdtype(value.dtype, np.integer):
            return None
        return tuple(int(i) for i in value.reshape(-1))

    def is_constant(self, name: str) -> bool:
        """Whether a tensor depends on constants alone, without reading it."""
        if name in self.fixed:
            return True
        return self.parent is not None and self._from_outside(name) and self.parent.is_constant(name)

    def _from_outside(self, name: str) -> bool:
        return name not in self.inputs and self.graph.producer(name) is None

    def _computed(self, node: Node, limit: int, depth: int, known: dict[str, Array | None]) -> Array | None:
        if node.op == "Constant" and not node.domain:
            return self._literal(node, limit)
        if node.op == "Shape" and not node.domain:
            return self._shape(node, limit, depth, known)
        fold = FOLDS.get(node.op) if not node.domain else None
        spent = sum(value.size for value in known.values() if value is not None)
        if fold is None or spent > MAX_FOLDED or len(known) > MAX_STEPS:
            return None
        values = [self._value(name, max(limit, 64), depth, known) for name in operands_of(node)]
        if not values or any(value is None for value in values):
            return None
        try:
            result = fold(node, [value for value in values if value is not None])
        except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError):
            return None
        return result if result is not None and result.size <= limit else None

    def _shape(self, node: Node, limit: int, depth: int, known: dict[str, Array | None]) -> Array | None:
        """Of an initializer without reading it: torch.onnx.export makes up missing biases from the weight's shape."""
        tensor = self.initializers.get(node.input(0))
        value = None if tensor is not None else self._value(node.input(0), limit, depth, known)
        if tensor is None and value is None:
            return None
        sizes = tuple(tensor.dims) if tensor is not None else value.shape if value is not None else ()
        end = node.attribute("end")
        return np.array(sizes[node.integer("start", 0) : None if end is None else int(end.i)], np.int64)

    def _literal(self, node: Node, limit: int) -> Array | None:
        attribute = next(iter(node.proto.attribute), None)
        if attribute is None:
            return None
        if attribute.name == "value" and attribute.HasField("t"):
            return self.reader.array(attribute.t) if math.prod(attribute.t.dims) <= limit else None
        if attribute.name in ("value_float", "value_int"):
            return np.array(attribute.f, np.float32) if attribute.name == "value_float" else np.array(attribute.i)
        if attribute.name in ("value_floats", "value_ints"):
            values = attribute.floats if attribute.name == "value_floats" else attribute.ints
            dtype = np.float32 if attribute.name == "value_floats" else np.int64
            return np.array(values, dtype) if len(values) <= limit else None
        return None


def make_constants(graph: Graph, reader: TensorReader, parent: OnnxConstants | None = None) -> OnnxConstants:
    """The constants of a graph; those that its initializers share with its inputs count as constant."""
    initializers = {tensor.name: tensor for tensor in graph.proto.initializer}
    inputs = frozenset(value.name for value in graph.proto.input) - initializers.keys()
    outer = OnnxConstants(graph, reader, initializers, inputs, frozenset(initializers), parent)
    fixed = set(initializers)
    for node in graph.nodes:
        operands = operands_of(node)
        if node.op == "Constant" or (
            operands and all(i in fixed or outer.is_constant(i) for i in operands) and not any(subgraphs(node.proto))
        ):
            fixed.update(output for output in node.outputs if output)
    return OnnxConstants(graph, reader, initializers, inputs, frozenset(fixed), parent)


def _numeric(value: Array) -> bool:
    return value.dtype.kind in "fiuV" or value.dtype.name in ("bfloat16",)


def operands_of(node: Node) -> list[str]:
    """The inputs whose values the value depends on."""
    return [name for name in (node.inputs[:1] if node.op == "CastLike" else node.inputs) if name]


def _first(_: Node, values: list[Array]) -> Array:
    return values[0]


def _cast(node: Node, values: list[Array]) -> Array:
    from onnx import helper

    with np.errstate(all="ignore"):
        return values[0].astype(helper.tensor_dtype_to_np_dtype(node.integer("to", 0)))


def _reshape(node: Node, values: list[Array]) -> Array:
    shape = values[1].reshape(-1).tolist()
    if not node.integer("allowzero", 0):
        shape = [values[0].shape[i] if dim == 0 else dim for i, dim in enumerate(shape)]
    return values[0].reshape(shape)


def _axes(node: Node, values: list[Array]) -> tuple[int, ...] | None:
    return tuple(int(i) for i in values[1].reshape(-1)) if len(values) > 1 else node.integers("axes")


def _unsqueeze(node: Node, values: list[Array]) -> Array:
    return np.expand_dims(values[0], _axes(node, values) or ())


def _squeeze(node: Node, values: list[Array]) -> Array:
    return np.squeeze(values[0], _axes(node, values))


def _transpose(node: Node, values: list[Array]) -> Array:
    return np.transpose(values[0], node.integers("perm"))


def _bounded(shape: tuple[int, ...]) -> tuple[int, ...]:
    if any(dim < 0 for dim in shape) or math.prod(shape) > MAX_FOLDED:
        raise ValueError("too large")
    return shape


def _expand(_: Node, values: list[Array]) -> Array:
    target = _bounded(tuple(int(i) for i in values[1].reshape(-1)))
    shape = _bounded(np.broadcast_shapes(values[0].shape, target))
    return np.broadcast_to(values[0], shape)


def _tile(_: Node, values: list[Array]) -> Array:
    repeats = tuple(int(i) for i in values[1].reshape(-1))
    _bounded(tuple(a * b for a, b in zip(values[0].shape, repeats, strict=True)))
    return np.tile(values[0], repeats)


def _filled(node: Node, values: list[Array]) -> Array | None:
    from onnx import numpy_helper

    attribute = node.attribute("value")
    fill = np.zeros(1, np.float32) if attribute is None else numpy_helper.to_array(attribute.t)
    return np.full(_bounded(tuple(int(i) for i in values[0].reshape(-1))), fill.reshape(-1)[0])


def _concat(node: Node, values: list[Array]) -> Array:
    return np.concatenate(values, node.integer("axis", 0))


def _gather(node: Node, values: list[Array]) -> Array:
    data, index = values
    axis = range(data.ndim)[node.integer("axis", 0)]
    _bounded((*data.shape[:axis], *index.shape, *data.shape[axis + 1 :]))
    return data.take(index, axis)


def _slice(node: Node, values: list[Array]) -> Array:
    """Like Python's, but for axes and for a start before the first element."""
    data, *given = values
    bounds = [node.integers(name) or () for name in ("starts", "ends", "axes")]
    if given:
        bounds = [tuple(int(i) for i in each.reshape(-1)) for each in given]
    if not all(node.inputs):
        raise ValueError("an operand in the middle is left out")
    starts, ends, axes, steps = (*bounds, (), ())[:4]
    cuts = [slice(None)] * data.ndim
    columns = zip(starts, ends, axes or range(len(starts)), steps or (1,) * len(starts), strict=True)
    for start, end, axis, step in columns:
        if step < 0 and start < -data.shape[axis]:
            raise ValueError("where runtimes start at the first element and Python before it")
        cuts[axis] = slice(start, end, step)
    return data[tuple(cuts)]


def _range(_: Node, values: list[Array]) -> Array:
    start, stop, step = (float(value.reshape(-1)[0]) for value in values)
    _bounded((max(math.ceil((stop - start) / step), 0),))
    return np.arange(start, stop, step).astype(values[0].dtype)


def _arithmetic(node: Node, values: list[Array]) -> Array:
    """Gemma's RMSNorm keeps gamma - 1, for one."""
    left, right = values
    _bounded(np.broadcast_shapes(left.shape, right.shape))
    if left.dtype != right.dtype or (node.op == "Div" and left.dtype.kind in "iu"):
        raise ValueError("not arithmetic of one floating-point type")
    with np.errstate(all="ignore"):
        return np.asarray(_OPERATIONS[node.op](left, right))


def _unary(node: Node, values: list[Array]) -> Array:
    """What turns a stored variance into a divisor."""
    if values[0].dtype.kind in "iubSUO":
        raise ValueError("not of a floating-point type")
    with np.errstate(all="ignore"):
        return np.asarray(_FUNCTIONS[node.op](values[0]))


def _power(_: Node, values: list[Array]) -> Array:
    """The exponent may be of another type than the base, which decides the type of the result."""
    base, exponent = values
    _bounded(np.broadcast_shapes(base.shape, exponent.shape))
    if base.dtype.kind in "iubSUO":
        raise ValueError("not of a floating-point type")
    with np.errstate(all="ignore"):
        return np.asarray(np.power(base, exponent.astype(base.dtype)))


_FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {
    "Sqrt": np.sqrt,
    "Reciprocal": lambda value: value.dtype.type(1) / value,
    "Neg": np.negative,
    "Abs": np.abs,
}
_OPERATIONS: Mapping[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
}
FOLDS: Mapping[str, Callable[[Node, list[Array]], Array | None]] = {
    "Identity": _first,
    "Cast": _cast,
    "CastLike": _first,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Expand": _expand,
    "Tile": _tile,
    "ConstantOfShape": _filled,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Range": _range,
    "Pow": _power,
    "DequantizeLinear": dequantized,
    "QuantizeLinear": quantized,
    **dict.fromkeys(_FUNCTIONS, _unary),
    **dict.fromkeys(_OPERATIONS, _arithmetic),
}
