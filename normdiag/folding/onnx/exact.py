"""The original in float64, run by onnx's reference evaluator: onnxruntime has no float64 convolution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from normdiag.errors import InputError
from normdiag.folding.onnx.evaluate import float_outputs, is_float
from normdiag.folding.onnx.reference import Meter, operators
from normdiag.graph.importers.onnx.nodes import DOMAINS
from normdiag.models.onnx.file import tensors_of
from normdiag.models.onnx.parse import walk_nodes
from normdiag.observe.onnx.feed import GraphInput, graph_inputs, make_feed
from normdiag.observe.onnx.session import one_line
from normdiag.records import Batch
from normdiag.records.model import Array
from normdiag.writing.onnx.original import Original
from normdiag.writing.onnx.size import tensor_bytes

# float, half and bfloat16 become double; by their numbers in onnx.TensorProto.
_FLOAT, _DOUBLE = 1, 11
_NARROW = frozenset({_FLOAT, 10, 16})
# Attributes that hold an element type.
_TYPES = frozenset({"to", "dtype", "output_datatype"})
_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
# The reference evaluator loops over single elements here, or computes in float32 whatever comes in.
_UNSUITABLE = frozenset({"GridSample", "RoiAlign", "MaxRoiPool", "DeformConv", "MaxUnpool"})
# Bytes of weights, as stored, beyond which no second copy of the model is made.
_MOST_BYTES = 2**29


class ExactEvaluator:
    """A model in float64; satisfies normdiag.folding.backend.Evaluator."""

    def __init__(self, source: Original, tensors: Sequence[str]) -> None:
        """Raises what onnx's reference evaluator raises for a model that it cannot take."""
        from onnx.reference import ReferenceEvaluator

        proto = widened(source)
        self._where = str(source.path)
        self._inputs = [_wide(each) for each in graph_inputs(source.proto, self._where)]
        self._tensors = frozenset(tensors)
        self._wanted = list(dict.fromkeys((*float_outputs(proto), *tensors)))
        self._meter = Meter()
        self._evaluator = ReferenceEvaluator(proto, new_ops=operators(self._meter))

    def run(self, batch: Batch) -> Mapping[str, Array]:
        """Every floating-point output of the graph, and the tensors that were asked for, by name, in float64.

        Raises InputError where the model cannot run on this batch, or would take too long.
        """
        feed = make_feed(self._inputs, batch, self._where)
        self._meter.reset()
        try:
            with np.errstate(all="ignore"):
                values = self._evaluator.run(self._wanted, feed)
        except InputError as error:
            raise InputError(f"{self._where}: {error}") from None
        except Exception as error:  # the reference evaluator raises whatever Python and numpy raise
            raise InputError(f"{self._where}: onnx's reference evaluator failed: {one_line(error)}") from None
        named = zip(self._wanted, values, strict=True)
        return {name: np.asarray(value) for name, value in named if name in self._tensors or is_float(value)}


def exact_evaluator(source: Original, tensors: Sequence[str]) -> ExactEvaluator | str:
    """The original in float64, or why that cannot run."""
    reason = _unsuitable(source)
    if reason:
        return reason
    try:
        return ExactEvaluator(source, tensors)
    except Exception as error:  # as above
        return f"onnx's reference evaluator does not take the model: {one_line(error)}"


def widened(source: Original) -> Any:
    """A copy of the model in which every narrower floating-point type is double."""
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(source.proto)
    for tensor in tensors_of(proto):
        if tensor.data_type in _NARROW:
            _widen_tensor(source, tensor)
    for node in _all_nodes(proto):
        _widen_node(node)
    for kind in _tensor_types(proto):
        kind.elem_type = _DOUBLE if kind.elem_type in _NARROW else kind.elem_type
    return proto


def _unsuitable(source: Original) -> str | None:
    size = sum(tensor_bytes(tensor) for tensor in tensors_of(source.proto))
    if size > _MOST_BYTES:
        return f"its weights ({size / 2**20:.0f} MiB) would be twice as large in float64"
    local = {(function.domain, function.name) for function in source.proto.functions}
    for node in _all_nodes(source.proto):
        if DOMAINS.get(node.domain, node.domain) and (node.domain, node.op_type) not in local:
            return f"{node.op_type} of {node.domain} is defined by no standard"
        if node.op_type in _RANDOM:
            return f"{node.op_type} gives other numbers each time"
        if node.op_type in _UNSUITABLE:
            return f"{node.op_type} takes too long in onnx's reference evaluator"
    return None


def _all_nodes(proto: Any) -> Iterator[Any]:
    yield from walk_nodes(proto.graph.node)
    for function in proto.functions:
        yield from walk_nodes(function.node)


def _widen_tensor(source: Original, tensor: Any) -> None:
    from onnx import numpy_helper

    with np.errstate(invalid="ignore"):  # a signaling NaN becomes a quiet one
        wide = np.asarray(source.reader.array(tensor), np.float64)
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(wide, name))


def _widen_node(node: Any) -> None:
    from onnx import numpy_helper

    for attribute in node.attribute:
        if attribute.name in _TYPES and attribute.i in _NARROW:
            attribute.i = _DOUBLE
        if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
            value = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            tensor = numpy_helper.from_array(np.asarray(value, np.float64))
            attribute.Clear()
            attribute.name, attribute.type = "value", attribute.TENSOR
            attribute.t.CopyFrom(tensor)


def _tensor_types(message: Any) -> Iterator[Any]:
    """Every onnx.TypeProto.Tensor in a message."""
    import onnx

    if isinstance(message, onnx.TypeProto.Tensor):
        yield message
        return
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None and not isinstance(value, onnx.TensorProto):
            for each in value if descriptor.is_repeated else (value,):
                yield from _tensor_types(each)


def _wide(each: GraphInput) -> GraphInput:
    return GraphInput(each.name, np.dtype(np.float64), each.shape) if each.dtype.kind in "fV" else each
