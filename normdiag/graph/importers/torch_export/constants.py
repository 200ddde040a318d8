"""What a graph computes from its parameters, buffers and constants alone: weights, however they are parametrized."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node
from torch.fx.node import map_arg

from normdiag.errors import InputError
from normdiag.graph.importers.torch_export.aliases import is_in_place
from normdiag.graph.importers.torch_export.calls import call_of, is_tensor, operator_of, parts_of, reads_shape_only
from normdiag.models.pytorch.arrays import Array, to_numpy, to_tensor
from normdiag.models.pytorch.torch_private import OpOverload, is_fake

# More elements than this are computed for no file: 2 GiB of float64. Reading what is stored has no such limit.
LARGEST = 2**28
ReadStored = Callable[[str], "Array | None"]
_RANDOM_ONLY_IN_TRAINING = ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout")


class ProgramConstants:
    """The nodes of an exported graph that do not depend on its inputs, and their values on demand.

    A value is computed by running its nodes without gradients. Only operators of ATen that are free of chance and side
    effects count, on sizes that are numbers; all else is data.
    """

    def __init__(
        self, exported: ExportedProgram, changed: Collection[Node] = (), read: ReadStored | None = None
    ) -> None:
        """Find them. `changed` are nodes whose values do not last (see aliases.py).

        `read` gives the values of stored tensors by name, and None for those that the program itself has to give.
        """
        self._exported = exported
        self._read_stored = read or (lambda name: None)
        self._stored = stored_names(exported)
        self._order = {node: index for index, node in enumerate(exported.graph.nodes)}
        self._found: set[Node] = set()
        mutated = set(exported.graph_signature.buffers_to_mutate.values())
        for node in exported.graph.nodes:
            lasts = node not in changed and self._stored.get(node.name) not in mutated
            if lasts and self._is_constant(node):
                self._found.add(node)

    def __contains__(self, node: object) -> bool:
        """Whether a node is one."""
        return node in self._found

    def value(self, node: Node, given: Mapping[Node, Tensor] = MappingProxyType({})) -> Tensor:
        """The value of a constant, with those `given` in place of what is stored.

        Raises InputError where the program holds no values (made on fake tensors).
        """
        known: dict[Node, Tensor] = dict(given)
        with torch.no_grad():
            for each in self._needed(node):
                if each in known:
                    continue
                if each.op == "placeholder":
                    known[each] = self._read(each)
                else:
                    args, kwargs = (map_arg(given, known.__getitem__) for given in (each.args, dict(each.kwargs)))
                    known[each] = each.target(*args, **kwargs)  # type: ignore[operator, arg-type]
        return known[node].detach()

    def array(self, node: Node) -> Array:
        """The value of a constant as an array, read without a copy where it is stored."""
        name = self.stored_name(node)
        found = None if name is None else self._read_stored(name)
        return to_numpy(self.value(node)) if found is None else found

    def roots(self, node: Node) -> tuple[Node, ...]:
        """The stored tensors whose values a constant is computed from, as placeholders."""
        return tuple(each for each in self._needed(node, values=True) if each.op == "placeholder")

    def needed(self, node: Node) -> tuple[Node, ...]:
        """The nodes that a constant is computed by, itself included, in the order of the graph."""
        return tuple(self._needed(node))

    def stored_name(self, node: Node) -> str | None:
        """The name that a placeholder has in the state dict (or among the constants)."""
        return self._stored.get(node.name) if node.op == "placeholder" else None

    def storage(self, placeholder: Node) -> object:
        """What two placeholders have in common if they are one tensor."""
        value = self._held(placeholder)
        pointer = 0 if value is None or is_fake(value) else value.data_ptr()
        return pointer or placeholder.name

    def _needed(self, node: Node, *, values: bool = False) -> list[Node]:
        needed, waiting = {node}, [node]
        while waiting:
            current = waiting.pop()
            fresh = set() if values and reads_shape_only(current) else set(current.all_input_nodes) - needed
            needed |= fresh
            waiting += fresh
        return sorted(needed, key=self._order.__getitem__)

    def _is_constant(self, node: Node) -> bool:
        if node.op == "placeholder":
            return node.name in self._stored and is_tensor(node) and self._held(node) is not None
        if node.op != "call_function" or not all(each in self._found for each in node.all_input_nodes):
            return False
        return _is_pure(node) and self._is_bounded(node)

    def _is_bounded(self, node: Node) -> bool:
        parts = parts_of(node) or ((node.meta["val"],) if is_tensor(node) else ())
        if not parts or not all(isinstance(size, int) for part in parts for size in part.shape):
            return False
        inputs = [each.meta["val"].numel() for each in node.all_input_nodes if is_tensor(each)]
        return bool(sum(math.prod(part.shape) for part in parts) <= max(LARGEST, *inputs, 0))

    def _held(self, placeholder: Node) -> Tensor | None:
        name = self._stored[placeholder.name]
        value = self._exported.state_dict.get(name, self._exported.constants.get(name))
        return value if isinstance(value, Tensor) else None

    def _read(self, placeholder: Node) -> Tensor:
        found = self._read_stored(self._stored[placeholder.name])
        if found is not None:
            return to_tensor(found)
        value = self._held(placeholder)
        if value is None or is_fake(value):
            raise InputError(
                f"{self._stored[placeholder.name]} has no values: the program was exported without weights"
            )
        return value


def stored_names(exported: ExportedProgram) -> Mapping[str, str]:
    """Placeholder name to name in `exported.state_dict`, or else in `exported.constants`."""
    signature = exported.graph_signature
    return {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }


def _is_pure(node: Node) -> bool:
    if node.target is operator.getitem:
        return True
    if not isinstance(node.target, OpOverload) or node.target.namespace != "aten" or is_in_place(node):
        return False
    name = operator_of(node)
    if name in _RANDOM_ONLY_IN_TRAINING:
        return call_of(node).args.get("train") is False
    chance = {torch.Tag.nondeterministic_seeded, torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
    return not chance.intersection(node.target.tags) and not name.startswith(("empty", "new_empty"))
