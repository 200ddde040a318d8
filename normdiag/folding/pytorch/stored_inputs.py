"""The placeholders of a graph in the making, and the program that it becomes, in the form of torch.export."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.exported_program import ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)

from normdiag.models.pytorch.torch_private import verifier

_PREFIXES = {InputKind.PARAMETER: "p_", InputKind.BUFFER: "b_", InputKind.CONSTANT_TENSOR: "c_"}


class StoredInputs:
    """Parameters, buffers and constants, which come first among the placeholders, and what the caller hands over."""

    def __init__(self, graph: fx.Graph, module: nn.Module) -> None:
        """Of a graph without nodes."""
        self._graph = graph
        self._module = module
        self._state = module.state_dict(keep_vars=True)
        self._constants: dict[str, Tensor] = {}
        self._specs: dict[fx.Node, InputSpec] = {}
        self._names = set[str]()
        self._first_given: fx.Node | None = None
        self._attributes = dict(_tensor_attributes(module))

    def stored(self) -> Iterator[tuple[str, fx.Node, Tensor]]:
        """Make the placeholders of parameters and buffers: name, placeholder and value of each."""
        for name, parameter in self._module.named_parameters(remove_duplicate=False):
            yield name, self._placeholder(name, InputKind.PARAMETER, name), parameter
        for name, value in self._module.named_buffers(remove_duplicate=False):
            kept = name in self._state
            self._constants |= {} if kept else {name: value}
            yield name, self._placeholder(name, InputKind.BUFFER, name, kept), value

    def user_input(self, name: str) -> fx.Node:
        """Make the placeholder of an input."""
        return self._placeholder(name, InputKind.USER_INPUT, None)

    def constant(self, value: Tensor, module: str) -> fx.Node:
        """Make the placeholder of a tensor that the code of this module holds, or makes of numbers."""
        lifted = sum("lifted_tensor_" in name for name in self._constants)
        name = self._attributes.get(id(value)) or _joined(module, f"lifted_tensor_{lifted}")
        self._constants[name] = value
        return self._placeholder(name, InputKind.CONSTANT_TENSOR, name)

    def program(self, outputs: list[Any], in_spec: Any, out_spec: Any) -> ExportedProgram:
        """The finished graph as a program with these outputs: nodes and numbers, in trees of those shapes."""
        calls = ModuleCallSignature(inputs=[], outputs=[], in_spec=in_spec, out_spec=out_spec)
        inputs = [self._specs[node] for node in self._graph.nodes if node.op == "placeholder"]
        results = [OutputSpec(OutputKind.USER_OUTPUT, _argument(each), None) for each in outputs]
        return ExportedProgram(
            root=nn.Module(),
            graph=self._graph,
            graph_signature=ExportGraphSignature(inputs, results),
            state_dict=self._state,
            range_constraints={},
            module_call_graph=[ModuleCallEntry("", calls)],
            constants=dict(self._constants),
            verifiers=[verifier()],
        )

    def _placeholder(self, name: str, kind: InputKind, target: str | None, persistent: bool | None = None) -> fx.Node:
        before = None if kind == InputKind.USER_INPUT else self._first_given
        wanted = _PREFIXES.get(kind, "") + re.sub(r"[^a-zA-Z0-9]", "_", name.lower())
        with nullcontext() if before is None else self._graph.inserting_before(before):
            node = self._graph.placeholder(wanted)
        if wanted not in self._names:
            node.name = wanted  # where it had another lest it hide a function of Python
        if kind == InputKind.USER_INPUT and self._first_given is None:
            self._first_given = node
        self._names.add(node.name)
        node.target = node.name
        self._specs[node] = InputSpec(kind, TensorArgument(node.name), target, persistent)
        return node


def _tensor_attributes(module: nn.Module) -> Iterator[tuple[int, str]]:
    """Tensors that modules hold as plain attributes, by their ids: their names."""
    for path, each in module.named_modules():
        for name, value in vars(each).items():
            if isinstance(value, Tensor):
                yield id(value), _joined(path, name)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _argument(value: Any) -> TensorArgument | ConstantArgument:
    return TensorArgument(value.name) if isinstance(value, fx.Node) else ConstantArgument(name="", value=value)
