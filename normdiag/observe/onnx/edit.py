"""Adding nodes to a copy of an ONNX model, in whatever operator set it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

PREFIX = "normdiag/"
# Operator sets from which on a reduction takes its axes as an input instead of an attribute.
_AXES_INPUT = {"ReduceSum": 13}
# Operators that keep the values of their first input.
_SAME_VALUES = frozenset({"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"})
_AXES_INPUT_OTHERS = 18
_OVERRIDABLE_IR = 4  # since this version of the format an initializer that is an input too is only a default
FLOAT, DOUBLE, INT64 = 1, 11, 7  # onnx.TensorProto.DataType


class GraphEdit:
    """A copy of a model that nodes are added to; the original is never touched.

    New nodes go before the node of the original graph that `slot` names by its index, so that the result stays in
    topological order. All new names begin with PREFIX and are unique.
    """

    def __init__(self, proto: Any) -> None:
        """`proto` is an onnx.ModelProto."""
        import onnx

        self.model = onnx.ModelProto()
        self.model.CopyFrom(proto)
        self.opset = default_opset(proto)
        self.slot = 0
        self._slots: list[list[Any]] = [[] for _ in range(len(proto.graph.node) + 1)]
        self._outputs = {output.name for output in proto.graph.output}
        # Beyond the names of an edit that the model has been through already.
        self._count = sum(name.startswith(PREFIX) for node in proto.graph.node for name in node.output)
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def ends_in_output(self, name: str) -> bool:
        """Whether a tensor of the original model is an output of it, perhaps after a change of shape or type."""
        reached = {name}
        for node in self.model.graph.node:
            if node.op_type in _SAME_VALUES and node.input[0] in reached:
                reached.update(node.output)
        return not reached.isdisjoint(self._outputs)

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""
        return self.nodes(op, inputs, self.fresh(op), attributes)

    def nodes(self, op: str, inputs: Sequence[str], output: str, attributes: dict[str, Any]) -> str:
        """Add a node that writes the tensor `output`."""
        from onnx import helper

        self._slots[self.slot].append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, value: ArrayLike, dtype: Any) -> str:
        """The name of a constant tensor of a numpy dtype; equal constants share one node at the graph's start."""
        from onnx import helper, numpy_helper

        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self.fresh("Constant")
            node = helper.make_node("Constant", [], [name], name=name, value=numpy_helper.from_array(array))
            self._slots[0].insert(0, node)
            self._constants[key] = name
        return self._constants[key]

    def reduce(self, op: str, x: str, axes: Sequence[int], *, keepdims: bool = False) -> str:
        """A reduction of x over axes."""
        keep = {"keepdims": int(keepdims)}
        if self.opset >= _AXES_INPUT.get(op, _AXES_INPUT_OTHERS):
            return self.node(op, x, self.constant(list(axes), np.int64), **keep)
        return self.node(op, x, axes=list(axes), **keep)

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """A reshape; 0 keeps a dimension, -1 takes what is left."""
        return self.node("Reshape", x, self.constant(list(shape), np.int64))

    def three_axes(self, x: str) -> str:
        """A tensor of any rank with three axes: its first two, and what is left; those that it lacks have length 1."""
        sizes = self.node("Concat", self.node("Shape", x), self.constant([1, 1], np.int64), axis=0)
        first = self.node("Gather", sizes, self.constant([0, 1], np.int64))
        return self.node("Reshape", x, self.node("Concat", first, self.constant([-1], np.int64), axis=0))

    def cast(self, x: str, element_type: int) -> str:
        """A cast to an onnx element type."""
        return self.node("Cast", x, to=element_type)

    def output(self, name: str) -> str:
        """Make a tensor an output of the graph as well."""
        import onnx

        if name not in self._outputs:
            self._outputs.add(name)
            self.model.graph.output.append(onnx.ValueInfoProto(name=name))
        return name

    def input(self, name: str, dtype: Any, length: int) -> str:
        """Make sure that the graph has a vector of that name among its inputs."""
        from onnx import helper

        if all(each.name != name for each in self.model.graph.input):
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            self.model.graph.input.append(helper.make_tensor_value_info(name, kind, [length]))
        return name

    def reads(self, name: str) -> bool:
        """Whether the graph has an input of that name."""
        return any(each.name == name for each in self.model.graph.input)

    def fresh(self, hint: str) -> str:
        """A name that is not taken."""
        self._count += 1
        return f"{PREFIX}{hint}_{self._count}"

    def build(self) -> Any:
        """The edited model, an onnx.ModelProto."""
        originals = list(self.model.graph.node)
        ordered = [node for before, each in zip(self._slots, originals, strict=False) for node in (*before, each)]
        ordered += self._slots[-1]
        del self.model.graph.node[:]
        self.model.graph.node.extend(ordered)
        return self.model


def default_opset(proto: Any) -> int:
    """The version of the standard operator set that a model imports."""
    return next((int(each.version) for each in proto.opset_import if each.domain in ("", "ai.onnx")), 1)


def constant_array(value: ArrayLike, dtype: Any, name: str) -> Any:
    """An onnx.TensorProto initializer."""
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(value, dtype), name)


def drop_input_defaults(model: Any) -> None:
    """Change a model so that no input has a default: those initializers are then constants in any format version."""
    model.ir_version = max(model.ir_version, _OVERRIDABLE_IR)
    defaults = {tensor.name for tensor in model.graph.initializer}
    kept = [each for each in model.graph.input if each.name not in defaults]
    del model.graph.input[:]
    model.graph.input.extend(kept)
