"""Changing a copy of a torch.export program, so that its graph, signature and stored tensors stay in step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputSpec,
    TensorArgument,
)

from normdiag.folding.pytorch.running import copy_graph
from normdiag.models.pytorch.torch_private import OpOverload, fake_mode_of, is_erased, pytree, schema_of

TRACKED = "num_batches_tracked"


class ProgramEditor:
    """A copy of a program under change; the original and its tensors stay as they are.

    Nodes are found by the name that they have in the original, also after others have taken their place.
    """

    def __init__(self, program: ExportedProgram) -> None:
        """Copy the graph. Tensors are shared with the original until they are replaced."""
        self._program = program
        self.graph = copy_graph(program.graph)
        self._nodes = {node.name: node for node in self.graph.nodes}
        placeholders = [node for node in self.graph.nodes if node.op == "placeholder"]
        self._specs = dict(zip(placeholders, program.graph_signature.input_specs, strict=True))
        self._state = dict(program.state_dict)
        self._constants = dict(program.constants)
        self._read = {node for node in placeholders if node.users}
        self._stale: set[int] = set()
        self._outputs = list(program.graph_signature.output_specs)
        self._calls = list(program.module_call_graph)
        self._loose: list[fx.Node] = []
        self._fakes = fake_mode_of([node.meta.get("val") for node in self.graph.nodes])

    def node(self, name: str) -> fx.Node:
        """The node of that name in the original, or what stands in its place now."""
        node: fx.Node = self._nodes[name]
        return node

    def replace(self, old: fx.Node, new: fx.Node, users: Iterable[fx.Node] | None = None) -> None:
        """Let what reads `old` (or these readers alone) read `new`; `old` goes if nobody reads it any more."""
        chosen = None if users is None else set(users)
        old.replace_all_uses_with(
            new, delete_user_cb=lambda user: user is not new and (chosen is None or user in chosen)
        )
        if chosen is None:
            self._nodes = {name: new if node is old else node for name, node in self._nodes.items()}
        self._loose.append(old)

    def set_argument(self, node: fx.Node, name: str, value: Any) -> None:
        """Set an argument of an operator by its name in the schema."""
        position, argument = _argument(node, name)
        before = argument_of(node, name)
        if argument.kwarg_only:
            node.kwargs = {**node.kwargs, name: value}
        else:
            schema = schema_of(node.target).arguments
            missing = (argument_of(node, each.name) for each in schema[len(node.args) : position])
            args = [*node.args, *missing]
            node.args = (*args[:position], value, *args[position + 1 :])
            node.kwargs = {key: held for key, held in node.kwargs.items() if key in _keyword_only(node)}
        if isinstance(before, fx.Node):
            self._loose.append(before)

    def add(
        self, operator: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, *, like: fx.Node
    ) -> fx.Node:
        """A new operation right after its first argument and `like`; its result looks like that of `like`."""
        position = {node: index for index, node in enumerate(self.graph.nodes)}
        with self.graph.inserting_after(max(args[0], like, key=position.__getitem__)):
            node = self.graph.create_node("call_function", operator, args, kwargs)
        node.meta = dict(like.meta)
        return node

    def parameter(
        self, value: Tensor, wanted: str, source: fx.Node | None = None, reader: fx.Node | None = None
    ) -> fx.Node:
        """The placeholder of a stored tensor with this value.

        That is `source` where it is a stored tensor that nobody but `reader` reads; else one under the name `wanted`,
        numbered if something else has that name.
        """
        if source is not None and source in self._specs and set(source.users) <= {reader}:
            return self._store(source, value)
        unread = [
            node for node, spec in self._specs.items() if spec.target == wanted and not node.users and _holds(spec)
        ]
        if unread:
            return self._store(unread[0], value)
        likeness = self._specs.get(source) if source is not None else None
        return self._store(self._fresh(self._free_name(wanted), likeness), value)

    def target(self, placeholder: fx.Node) -> str:
        """The name under which a placeholder's tensor is stored."""
        return str(self._specs[placeholder].target)

    def own_tensors(self) -> None:
        """Copy all stored tensors, so that nothing is shared with the original; what is tied stays tied."""
        copies: dict[int, Any] = {}
        for held in (self._state, self._constants):
            for name, value in held.items():
                if isinstance(value, Tensor) and id(value) not in copies:
                    own = value.detach().clone()
                    parameter = isinstance(value, nn.Parameter)
                    copies[id(value)] = nn.Parameter(own, value.requires_grad) if parameter else own
                held[name] = copies.get(id(value), value)

    def name_inputs(self, names: Sequence[str]) -> None:
        """Give the inputs these names, in order; those that something else has stay as they are."""
        inputs = [node for node, spec in self._specs.items() if spec.kind == InputKind.USER_INPUT]
        for node, name in zip(inputs, names, strict=False):
            if name not in {each.name for each in self.graph.nodes}:
                node.name = node.target = name
                self._specs[node] = replace(self._specs[node], arg=TensorArgument(name))

    def keep_outputs(self, kept: Sequence[int]) -> None:
        """Leave out all outputs but these; what is returned is then a flat tuple."""
        output = self.graph.output_node()
        values = tuple(output.args[0][index] for index in kept)  # type: ignore[index]
        self._loose += [each for each in output.all_input_nodes if each not in values]
        output.args = (values,)
        self._outputs = [self._outputs[index] for index in kept]
        root, *rest = self._calls
        signature = replace(
            root.signature,
            outputs=[spec.arg for spec in self._outputs],
            out_spec=pytree.tree_structure(tuple(range(len(kept)))),
        )
        self._calls = [replace(root, signature=signature), *rest]

    def names(self) -> dict[str, str]:
        """By the name of each node of the original that is still there, or has a successor, the name of that now."""
        return {name: node.name for name, node in self._nodes.items() if not is_erased(node)}

    def finish(self) -> ExportedProgram:
        """The edited program, without what nobody reads any more; torch itself checks that it is well formed."""
        self._sweep()
        self._drop()
        self.graph.lint()
        specs = [self._specs[node] for node in self.graph.nodes if node.op == "placeholder"]
        program = self._program
        return ExportedProgram(
            root=program.graph_module,
            graph=self.graph,
            graph_signature=ExportGraphSignature(specs, self._output_specs()),
            state_dict=self._state,
            range_constraints=dict(program.range_constraints),
            module_call_graph=self._calls,
            example_inputs=program.example_inputs,
            constants=self._constants,
            verifiers=program.verifiers,
        )

    def _store(self, placeholder: fx.Node, value: Tensor) -> fx.Node:
        spec = self._specs[placeholder]
        held = self._state if spec.target in self._state or spec.target not in self._constants else self._constants
        old = held.get(str(spec.target))
        if old is not None:
            self._stale.add(id(old))
        parameter = spec.kind == InputKind.PARAMETER
        trained = old.requires_grad if isinstance(old, Tensor) else value.is_floating_point()
        held[str(spec.target)] = nn.Parameter(value, requires_grad=trained) if parameter else value
        placeholder.meta["val"] = self._fake(value)
        return placeholder

    def _fresh(self, target: str, kind: InputSpec | None) -> fx.Node:
        """A placeholder for a new parameter, before everything else that is not a parameter."""
        later = next(iter(node for node, spec in self._specs.items() if spec.kind != InputKind.PARAMETER), None)
        anchor = later or next(iter(self.graph.nodes))
        with self.graph.inserting_before(anchor):
            node = self.graph.placeholder("p_" + target.replace(".", "_"))
        node.target = node.name
        buffer = kind is not None and kind.kind != InputKind.PARAMETER
        spec = InputSpec(
            InputKind.BUFFER if buffer else InputKind.PARAMETER,
            TensorArgument(name=node.name),
            target,
            persistent=True if buffer else None,
        )
        self._specs[node] = spec
        return node

    def _free_name(self, wanted: str) -> str:
        """A name that neither is a stored tensor or a part of one's path, nor leads through one."""
        taken = {*self._state, *self._constants}
        numbered = [wanted, *(f"{wanted}_{number}" for number in range(1, len(taken) + 2))]
        flat = [name.replace(".", "_") for name in numbered]
        return next(name for name in (*numbered, *flat) if not any(_clash(name, other) for other in taken))

    def _fake(self, value: Tensor) -> Any:
        plain = value.detach()
        return plain if self._fakes is None else self._fakes.from_tensor(plain, static_shapes=True)

    def _sweep(self) -> None:
        """Remove what only served what is gone, and nothing else: dead code of the original stays."""
        while self._loose:
            node = self._loose.pop()
            if node.op == "call_function" and not node.users and not is_erased(node) and not node.is_impure():
                self._loose += node.all_input_nodes
                self.graph.erase_node(node)

    def _drop(self) -> None:
        """Remove stored tensors that lost their readers, their other names, and the counters of norms that are gone."""
        unread = [node for node, spec in self._specs.items() if not node.users and _holds(spec)]
        lost = {id(self._value(node)) for node in unread if node in self._read} | self._stale
        gone = {self.target(node) for node in unread if id(self._value(node)) in lost}
        owners = {name.rpartition(".")[0] for name in gone if name.endswith("running_mean")}
        for node in unread:
            owner, _, name = self.target(node).rpartition(".")
            if self.target(node) in gone or (name == TRACKED and owner in owners):
                self._forget(node)
        for owner in owners:  # which the converter of TorchScript keeps beside the signature
            self._state.pop(f"{owner}.{TRACKED}", None)

    def _forget(self, placeholder: fx.Node) -> None:
        target = self.target(placeholder)
        self._state.pop(target, None)
        self._constants.pop(target, None)
        del self._specs[placeholder]
        self.graph.erase_node(placeholder)

    def _value(self, placeholder: fx.Node) -> Any:
        target = self.target(placeholder)
        return self._state.get(target, self._constants.get(target))

    def _output_specs(self) -> list[OutputSpec]:
        """The outputs in order, under the names that they have now."""
        values: Any = self.graph.output_node().args[0]
        return [
            replace(spec, arg=replace(spec.arg, name=value.name)) if isinstance(value, fx.Node) else spec
            for spec, value in zip(self._outputs, values, strict=True)
        ]


def argument_of(node: fx.Node, name: str) -> Any:
    """The value of an operator's argument, by its name in the schema."""
    position, argument = _argument(node, name)
    if position < len(node.args) and not argument.kwarg_only:
        return node.args[position]
    return node.kwargs.get(name, argument.default_value)


def has_argument(node: fx.Node, name: str) -> bool:
    """Whether an operator has an argument of that name."""
    return isinstance(node.target, OpOverload) and any(each.name == name for each in schema_of(node.target).arguments)


def _argument(node: fx.Node, name: str) -> tuple[int, Any]:
    schema = schema_of(node.target).arguments
    return next((index, each) for index, each in enumerate(schema) if each.name == name)


def _keyword_only(node: fx.Node) -> set[str]:
    return {each.name for each in schema_of(node.target).arguments if each.kwarg_only}


def _holds(spec: InputSpec) -> bool:
    return spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


def _clash(name: str, other: str) -> bool:
    return name == other or name.startswith(other + ".") or other.startswith(name + ".")
