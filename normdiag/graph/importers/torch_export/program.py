"""What the recognisers of single operations share: the exported graph, its constants, and drafts of Ops."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.fx import Node

from normdiag.errors import InputError
from normdiag.graph.importers.torch_export.aliases import changed_tensors
from normdiag.graph.importers.torch_export.calls import (
    Call,
    dtype_name,
    dtype_of,
    holds_tensors,
    is_tensor,
    reads_shape_only,
    shape_of,
    sizes_of,
)
from normdiag.graph.importers.torch_export.constants import ProgramConstants, ReadStored
from normdiag.models.pytorch.arrays import Array
from normdiag.records.opgraph import OpKind
from normdiag.records.ops import Constant, Detail, Parameter, Sizes

IS_COMPUTED = "is computed by the graph"
IS_INPUT = "is a graph input"
IS_QUANTIZED = "is quantized"
_WHOLE_OUTPUT = (0, None)


@dataclass(frozen=True, eq=False)
class AnchoredOp:
    """An Op before it has its name. `anchor` is the node whose module names it, `parameters` the constants it reads.

    `sizes` are those of tensors that exist only between the parts of a decomposed operation.
    """

    anchor: Node
    operator: str
    kind: OpKind
    detail: Detail
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    parameters: tuple[Node, ...] = ()
    sizes: Mapping[str, Sizes] = field(default_factory=dict)


class Program:
    """An exported program as the recognisers see it."""

    def __init__(self, exported: ExportedProgram, read: ReadStored | None = None) -> None:
        """Sort its nodes into constants and data. `read` as for ProgramConstants."""
        self.exported = exported
        self.nodes: tuple[Node, ...] = tuple(exported.graph.nodes)
        self._by_name = {node.name: node for node in self.nodes}
        self.index = {node: index for index, node in enumerate(self.nodes)}
        self.changed = changed_tensors(self.nodes)
        self.constants = ProgramConstants(exported, self.changed, read)
        self.user_inputs = frozenset(name for name in exported.graph_signature.user_inputs if isinstance(name, str))

    def is_data(self, value: Any) -> bool:
        """Whether an argument is a tensor that depends on the inputs."""
        return isinstance(value, Node) and is_tensor(value) and value not in self.constants

    def is_constant(self, value: Any) -> bool:
        """Whether an argument is a tensor that does not."""
        return isinstance(value, Node) and is_tensor(value) and value in self.constants

    def is_stored(self, value: Any) -> bool:
        """Whether an argument has a value in the file: constants, and buffers that the model changes."""
        return self.is_constant(value) or (isinstance(value, Node) and self.constants.stored_name(value) is not None)

    def sizes(self, name: str) -> Sizes | None:
        """The dimensions of a tensor; None for one that is in no program."""
        node = self._by_name.get(name)
        return None if node is None or not is_tensor(node) else sizes_of(node)

    def data_read(self, node: Node) -> tuple[Node, ...]:
        """The data whose values a node reads, each once."""
        if reads_shape_only(node):
            return ()
        return tuple(each for each in node.all_input_nodes if holds_tensors(each) and each not in self.constants)

    def array(self, node: Node) -> Array:
        """The values of a constant."""
        try:
            return self.constants.array(node)
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            raise InputError(
                f"the value of {node.name} cannot be computed: {' '.join(str(error).split())[:200]}"
            ) from error

    def parameter(self, value: Any) -> Parameter | None:
        """A tensor argument as a Parameter, with its obstacle; None where its shape is not known."""
        if not isinstance(value, Node) or not is_tensor(value) or (shape := shape_of(value)) is None:
            return None
        return Parameter(
            name=value.name,
            shape=shape,
            dtype=dtype_name(dtype_of(value)),
            read=lambda: self.array(value),
            obstacle=self.obstacle(value),
        )

    def obstacle(self, value: Node) -> str | None:
        """Why a tensor must not be rewritten."""
        if value.name in self.user_inputs:
            return IS_INPUT
        if value not in self.constants:
            return IS_QUANTIZED if self._dequantizes(value) else IS_COMPUTED
        roots = [dtype_of(root) for root in self.constants.roots(value) if dtype_of(value).is_floating_point]
        return IS_QUANTIZED if any(dtype.itemsize == 1 and dtype != torch.bool for dtype in roots) else None

    def operand(self, value: Any) -> tuple[AnchoredOp, ...]:
        """The draft of a constant among the data: none for what is data itself."""
        if not self.is_constant(value) or (parameter := self.parameter(value)) is None:
            return ()
        return (AnchoredOp(value, "constant", "constant", Constant(parameter), (), (value.name,), (value,), (value,)),)

    def draft(self, call: Call, kind: OpKind, detail: Detail, inputs: tuple[Node, ...], **more: Any) -> AnchoredOp:
        """An operation on these data whose output is that of the node."""
        names = tuple(each.name for each in inputs)
        return AnchoredOp(call.node, shown(call.operator), kind, detail, names, (call.node.name,), (call.node,), **more)

    def single_output(self, node: Node) -> Node | None:
        """The one tensor that is used of a node's outputs: itself, or its item 0; None where others are used too."""
        if is_tensor(node):
            return node
        if any(user.target is not operator.getitem for user in node.users):
            return None
        used = [user for user in node.users if user.users]
        return used[0] if len(used) == 1 and used[0].args[1] in _WHOLE_OUTPUT else None

    def items(self, node: Node) -> tuple[Node, ...]:
        """The nodes that take one of a node's outputs each, in their order; none where it is used in another way."""
        if not node.users or any(user.target is not operator.getitem for user in node.users):
            return ()
        return tuple(sorted((user for user in node.users if user.users), key=lambda user: int(user.args[1])))  # type: ignore[arg-type]

    def readers(self, node: Node) -> list[Node]:
        """The nodes that read a tensor's values; the output node is one of them."""
        return [user for user in node.users if not reads_shape_only(user)]

    def _dequantizes(self, value: Node) -> bool:
        seen = {value}
        waiting = [value]
        while waiting:
            node = waiting.pop()
            if "dequant" in str(node.target):
                return True
            fresh = [each for each in node.all_input_nodes if each not in seen]
            seen.update(fresh)
            waiting += fresh
            if node.name in self.user_inputs:
                return False
        return False


def shown(operator_name: str) -> str:
    """An operator as users know it: without the marks of private forms."""
    return operator_name.strip("_").removeprefix("aten.")


def float64(array: Array) -> Array:
    """Values in float64."""
    return np.asarray(array, np.float64)
