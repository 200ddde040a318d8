"""A graph that was exported for a fixed number of samples, rewritten for any number: inputs, and constants that follow.

New shapes become initializers and new nodes stand at the end, so that every node keeps its index; onnxruntime sorts
them itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from normdiag.observe.batch_place import (
    BatchPlace,
    after_broadcast,
    after_reduction,
    after_reshape,
    after_transpose,
    freed,
)
from normdiag.observe.onnx.edit import PREFIX, constant_array, default_opset, drop_input_defaults

SYMBOL = "normdiag_batch"
_NO_SAMPLES = frozenset({"Shape", "Size", "ConstantOfShape", "Range"})
_PICKS = ("Squeeze", "ArgMax", "ArgMin")
_RECURRENT = ("LSTM", "GRU", "RNN")
# Which inputs of a recurrent node hold its state: initial_h and initial_c.
_STATES = (5, 6)
_SLICE_OPSET = 10  # Expand is older


@dataclass(frozen=True, eq=False)
class SeenSizes:
    """What one run has shown: the sizes of tensors, and the values of vectors that no input of the model changes."""

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    vectors: Mapping[str, list[int]] = field(default_factory=dict)


NOTHING_SEEN = SeenSizes()


def with_free_batch(proto: Any, axes: Mapping[str, int], samples: int, seen: SeenSizes = NOTHING_SEEN) -> Any:
    """A copy of an onnx.ModelProto in which the number of samples, `samples` on `axes` of the inputs, is free.

    Shapes that the file states for other tensors are dropped: they may be of the old size. What was `seen` in a run
    completes what can be inferred. Whether the result is right has to be seen by running it.
    """
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(proto)
    drop_input_defaults(result)
    rewriting = _Rewriting(result, axes, samples, seen)
    for each in result.graph.input:
        if each.name in axes:
            each.type.tensor_type.shape.dim[axes[each.name]].dim_param = SYMBOL
    drop_output_shapes(result.graph)
    rewriting.run()
    return result


def drop_output_shapes(graph: Any) -> None:
    """Forget what a graph states of the shapes of all but its inputs."""
    for each in graph.output:
        if each.type.tensor_type.HasField("shape"):  # clearing what is not there would declare a type of none
            each.type.tensor_type.ClearField("shape")
    del graph.value_info[:]


class _Rewriting:
    """One walk over the nodes, with the place of the samples in every tensor that holds them."""

    def __init__(self, model: Any, axes: Mapping[str, int], samples: int, seen: SeenSizes) -> None:
        self._graph, self._samples, self._opset = model.graph, samples, default_opset(model)
        self._shapes = known_shapes(model) | dict(seen.shapes)
        self._constants = {**integer_constants(model.graph), **seen.vectors}
        self._places: dict[str, BatchPlace | None] = {name: BatchPlace(axis) for name, axis in axes.items()}
        self._source = next(iter(axes.items()))
        self._count = 0

    def run(self) -> None:
        """Follow the samples, and free each constant that holds their number."""
        for node in list(self._graph.node):
            tracked = [name for name in node.input if name in self._places]
            if not tracked or node.op_type in _NO_SAMPLES:
                continue
            name = next((name for name in tracked if self._places[name] is not None), tracked[0])
            places = self._after(node, name)
            self._places.update(zip(filter(None, node.output), places, strict=False))

    def _after(self, node: Any, name: str) -> Iterator[BatchPlace | None]:
        """The places in the node's outputs; the node is changed where it holds the number of samples."""
        place, shape = self._places[name], self._shapes.get(name)
        rules: Mapping[str, Callable[..., BatchPlace | None]] = {
            "Reshape": self._reshape,
            "Flatten": self._flatten,
            "Transpose": self._transpose,
            "Unsqueeze": self._unsqueeze,
            "Gather": self._gather,
            "Concat": self._concat,
            "Expand": self._expand,
            "Resize": self._resize,
        }
        rule = rules.get(node.op_type)
        if rule is not None:
            found = [rule(node, name, place, shape)]
        elif node.op_type.startswith("Reduce") or node.op_type in _PICKS:
            found = [self._reduction(node, place, shape)]
        elif node.op_type in _RECURRENT:
            found = self._recurrent(node)
        else:
            found = [self._aligned(each, place, shape) for each in node.output]
        yield from found

    def _reshape(self, node: Any, name: str, place: BatchPlace | None, shape: Any) -> BatchPlace | None:
        wanted = self._constants.get(node.input[1])
        after = self._shapes.get(node.output[0])
        if after is None and wanted and min(wanted) > 0:
            after = tuple(wanted)
        new = None if place is None or shape is None or after is None else self._reshaped(place, shape, after)
        if wanted is None or name != node.input[0]:
            return new
        if new is not None and after is not None:
            node.input[1] = self._constant(freed(after, new))
        elif len(wanted) > 1 and wanted[0] == self._samples and not _integer(node, "allowzero", 0):
            node.input[1] = self._constant([0 if -1 in wanted else -1, *wanted[1:]])
        return new

    def _reshaped(self, place: BatchPlace, before: Sequence[int], after: Sequence[int]) -> BatchPlace | None:
        return after_reshape(place, before, after, self._samples)

    def _flatten(self, node: Any, _: str, place: BatchPlace | None, shape: Any) -> BatchPlace | None:
        after = self._shapes.get(node.output[0])
        return None if place is None or shape is None or after is None else self._reshaped(place, shape, after)

    def _transpose(self, node: Any, _: str, place: BatchPlace | None, shape: Any) -> BatchPlace | None:
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
        if order is None and shape is not None:
            order = list(range(len(shape)))[::-1]
        return None if place is None or order is None else after_transpose(place, order)

    def _unsqueeze(self, node: Any, _: str, place: BatchPlace | None, shape: Any) -> BatchPlace | None:
        axes = self._axes(node)
        if place is None or shape is None or axes is None:
            return None
        rank = len(shape) + len(axes)
        kept = [axis for axis in range(rank) if axis not in {each % rank for each in axes}]
        return BatchPlace(kept[place.axis], place.outer)

    def _gather(self, node: Any, name: str, place: BatchPlace | None, shape: Any) -> BatchPlace | None:
        axis, indices = _integer(node, "axis", 0), self._shapes.get(node.input[1])
        if place is None or shape is None:
            return None
        if name == node.input[1]:
            return BatchPlace(axis + place.axis, place.outer)
        axis %= len(shape)
        if place.axis == axis or indices is None:
            return None
        return place if place.axis < axis else BatchPlace(place.axis - 1 + len(indices), place.outer)

    def _concat(self, node: Any, _: str, place: BatchPlace | None, shape: Any) -> BatchPlace | None:
        if place is not None and shape is not None and _integer(node, "axis", 0) % len(shape) != place.axis:
            for index, each in enumerate(node.input):
                if each not in self._places:
                    node.input[index] = self._widened(each, place.axis, len(shape))
        return place

    def _expand(self, node: Any, name: str, place: BatchPlace | None, shape: Any) -> BatchPlace | None:
        wanted = self._constants.get(node.input[1])
        if place is None or shape is None or name != node.input[0]:
            return None
        after = self._shapes.get(node.output[0], wanted or ())
        new = after_broadcast(place, len(shape), len(after))
        if wanted and new is not None and len(wanted) == len(after):
            node.input[1] = self._constant([1 if axis == new.axis else size for axis, size in enumerate(wanted)])
        return new

    def _resize(self, node: Any, _: str, place: BatchPlace | None, __: Any) -> BatchPlace | None:
        sizes = self._constants.get(node.input[3]) if len(node.input) > 3 else None
        if place is not None and sizes:
            before, after = sizes[: place.axis], sizes[place.axis + 1 :]
            node.input[3] = self._node("Concat", self._constant(before), self._batch(), self._constant(after), axis=0)
        return place

    def _reduction(self, node: Any, place: BatchPlace | None, shape: Any) -> BatchPlace | None:
        axes = self._axes(node)
        if place is None or shape is None:
            return None
        if axes is None:
            axes = [axis for axis, size in enumerate(shape) if size == 1 or node.op_type != "Squeeze"]
        keeps = node.op_type != "Squeeze" and bool(_integer(node, "keepdims", 1))
        return after_reduction(place, axes, len(shape), keeps=keeps)

    def _recurrent(self, node: Any) -> list[BatchPlace | None]:
        for index in _STATES:
            if index < len(node.input) and node.input[index] and node.input[index] not in self._places:
                node.input[index] = self._widened(node.input[index], 1, 3)
        return [BatchPlace(2) if index == 0 else BatchPlace(1) for index, name in enumerate(node.output) if name]

    def _aligned(self, output: str, place: BatchPlace | None, shape: Any) -> BatchPlace | None:
        after = self._shapes.get(output)
        if place is None or shape is None or after is None:
            return place
        return after_broadcast(place, len(shape), len(after))

    def _axes(self, node: Any) -> list[int] | None:
        given = next((list(a.ints) or [a.i] for a in node.attribute if a.name in ("axes", "axis")), None)
        if given is None and len(node.input) > 1:
            return self._constants.get(node.input[1])
        return given

    def _widened(self, name: str, axis: int, rank: int) -> str:
        """A constant with one entry for every sample on an axis, made of its first."""
        shape = self._shapes.get(name)
        if shape is None or len(shape) != rank or shape[axis] != self._samples or self._opset < _SLICE_OPSET:
            return name
        one = name
        if self._samples > 1:
            bounds = (self._constant([value]) for value in (0, 1, axis))
            one = self._node("Slice", name, *bounds)
        ones = [self._constant([1] * count) for count in (axis, rank - axis - 1)]
        return self._node("Expand", one, self._node("Concat", ones[0], self._batch(), ones[1], axis=0))

    def _batch(self) -> str:
        """A vector of one number: how many samples there are."""
        name, axis = self._source
        return self._node("Gather", self._node("Shape", name), self._constant([axis]), axis=0)

    def _node(self, op: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        output = self._fresh(op)
        self._graph.node.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def _constant(self, values: Sequence[int]) -> str:
        name = self._fresh("shape")
        self._graph.initializer.append(constant_array(np.asarray(values, np.int64), np.int64, name))
        return name

    def _fresh(self, hint: str) -> str:
        self._count += 1
        return f"{PREFIX}free_{hint}_{self._count}"


def _integer(node: Any, name: str, default: int) -> int:
    return next((int(each.i) for each in node.attribute if each.name == name), default)


def known_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """The sizes of tensors of which every one is known: as inferred, and those of constants."""
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # what its C++ raises for a graph that it does not understand
        graph = model.graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            shapes[node.output[0]] = tuple(node.attribute[0].t.dims)
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            shapes[value.name] = tuple(int(dim.dim_value) for dim in tensor.shape.dim)
    return shapes


def integer_constants(graph: Any) -> Mapping[str, list[int]]:
    """Constant vectors of int64, which shapes are."""
    from onnx import TensorProto, numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    return {
        name: [int(each) for each in numpy_helper.to_array(tensor)]
        for name, tensor in tensors.items()
        if tensor.data_type == TensorProto.INT64 and len(tensor.dims) == 1 and not tensor.external_data
    }
