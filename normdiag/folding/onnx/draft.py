"""A graph while it is edited: the original stays as it is, what is touched is copied first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import Any

from normdiag.models.onnx.parse import subgraphs
from normdiag.writing.onnx.names import all_names, free_name, uses
from normdiag.writing.onnx.new_tensor import NewTensor
from normdiag.writing.onnx.original import Original


class ModelEdits:
    """Edits of one model, by the index of its nodes in the original.

    `nodes` holds what stands in place of a node, in order; nothing for one that goes. `tensors` are the new
    initializers by name, `gone` the old ones that nobody reads any more. `moved` are tensors that became one with
    another, whose name they take; `replaced` are constants that some read under another name from now on.
    """

    def __init__(self, source: Original) -> None:
        """Nothing edited yet."""
        graph = source.proto.graph
        self.source = source
        self.nodes: dict[int, list[Any]] = {}
        self.tensors: dict[str, NewTensor] = {}
        self.gone: set[str] = set()
        self.moved: dict[str, str] = {}
        self.replaced: dict[str, str] = {}
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self._original = list(graph.node)
        self._producers = {name: i for i, node in enumerate(self._original) for name in node.output if name}
        self._uses = uses(source.proto)
        self._taken = all_names(source.proto)

    def node(self, index: int) -> Any:
        """A node as it is now; not to be changed. None for one that is gone."""
        present = self.nodes.get(index, [self._original[index]])
        return present[0] if present else None

    def edited(self, index: int) -> Any:
        """A node of our own to change."""
        import onnx

        if index not in self.nodes:
            copy = onnx.NodeProto()
            copy.CopyFrom(self._original[index])
            self.nodes[index] = [copy]
        return self.nodes[index][0]

    def insert(self, index: int, op: str, inputs: list[str], output: str, name: str) -> None:
        """A new node where node `index` is or was, after what stands there."""
        from onnx import helper

        if index not in self.nodes:
            self.edited(index)
        self._uses.update(inputs)
        self.nodes[index].append(helper.make_node(op, inputs, [output], name=self.fresh(name)))

    def comes_from(self, name: str, constant: str) -> bool:
        """Whether a constant is that tensor, or is computed from it."""
        waiting, seen = [name], {name}
        while waiting:
            each = waiting.pop()
            if each == constant:
                return True
            index = self._producers.get(each)
            node = None if index is None else self.node(index)
            new = set() if node is None else set(node.input) - seen
            seen |= new
            waiting += new
        return False

    def fresh(self, hint: str) -> str:
        """A name that nothing in the model has."""
        return free_name(hint, self._taken)

    def set_constant(self, index: int, slot: int, tensor: NewTensor, hint: str) -> None:
        """Let an input of a node be a constant.

        It keeps its name where nobody else reads that; what only fed the old one goes.
        """
        node = self.edited(index)
        old = node.input[slot] if slot < len(node.input) else ""
        like = self.stored.get(old)
        if old and self._uses[old] == 1 and self._cleared(old):
            self.tensors[old] = tensor.named(old, like)
            return
        node.input.extend([""] * (slot + 1 - len(node.input)))
        node.input[slot] = self.constant(tensor, old or hint, like)
        if old:
            self.release(old)

    def replace_constant(self, name: str, places: Sequence[tuple[int, int]], tensor: NewTensor) -> None:
        """Let these inputs (node, slot), which read the constant `name`, read another; it keeps the name if it can."""
        if self._uses[name] == len(places) and self._cleared(name):
            self.tensors[name] = tensor.named(name, self.stored.get(name))
            return
        new = self.replaced[name] = self.constant(tensor, name, self.stored.get(name))
        for index, slot in places:
            self.edited(index).input[slot] = new
            self.release(name)

    def slots(self, index: int, name: str) -> list[int]:
        """At which of a node's inputs a tensor is read."""
        node = self.node(index)
        return [slot for slot, each in enumerate(node.input if node is not None else ()) if each == name]

    def constant(self, tensor: NewTensor, hint: str, like: Any = None) -> str:
        """A new initializer, not yet read by anyone but who asks; its name."""
        name = self.fresh(f"{hint}_folded" if hint in self._taken else hint)
        self.tensors[name] = tensor.named(name, like)
        self._uses[name] = 1
        return name

    def drop_input(self, index: int, slot: int) -> None:
        """Leave out an optional input."""
        node = self.edited(index)
        if slot >= len(node.input) or not node.input[slot]:
            return
        old, node.input[slot] = node.input[slot], ""
        while node.input and not node.input[-1]:
            del node.input[-1]
        self.release(old)

    def read_only(self, index: int, names: Sequence[str]) -> None:
        """Let a node read these of its inputs and no others, all of which are data."""
        node = self.edited(index)
        self._uses.subtract(node.input)
        self._uses.update(names)
        del node.input[:]
        node.input.extend(names)

    def remove(self, index: int, data: Collection[str]) -> None:
        """Take a node out, and with it the constants that only it read; `data` are inputs that stay in any case.

        A CastLike reads data too, for its type alone: it goes with the constant that it makes, and the data stay.
        """
        node = self.node(index)
        self.nodes[index] = []
        for name in node.input:
            if name in data:
                self._uses[name] -= 1
            elif name:
                self.release(name, data)

    def release(self, name: str, data: Collection[str] = ()) -> None:
        """One reader less: a constant that nobody reads goes, and so does the node that made it."""
        self._uses[name] -= 1
        if self._uses[name] == 0:
            self._cleared(name, data)

    def _cleared(self, name: str, data: Collection[str] = ()) -> bool:
        """Take away what gives a tensor its value, if that gives nothing else; whether it is gone."""
        if name in self.tensors or name in self.stored:
            self.tensors.pop(name, None)
            self.gone.add(name)
            return True
        index = self._producers.get(name)
        node = None if index is None else self.node(index)
        if index is None or node is None or any(self._uses[o] for o in node.output if o and o != name):
            return False
        if any(subgraphs(node)):
            return False
        self.remove(index, data)
        return True

    def merge(self, dead: str, alive: str) -> None:
        """From now on `dead` is called `alive`; who reads the one reads the other."""
        self._uses[dead] = self._uses[alive] = self._uses[dead] + self._uses[alive]
        self.moved[dead] = alive

    def resolved(self, name: str) -> str:
        """What a tensor of the original is called now."""
        seen: set[str] = set()
        while name in self.moved and name not in seen:
            seen.add(name)
            name = self.moved[name]
        return name

    def name_now(self, name: str) -> str | None:
        """The same, None where the result has no such tensor."""
        now = self.resolved(name)
        return now if now in self._left else None

    @cached_property
    def _left(self) -> frozenset[str]:
        return frozenset(output for node in self.present() for output in node.output)

    def rename(self) -> None:
        """Carry out all merges."""
        for index, node in enumerate(self._original):
            for present in self.nodes.get(index, [node]):
                if _mentions(present, self.moved):
                    target = present if index in self.nodes else self.edited(index)
                    self._rename_in(target)

    def _rename_in(self, node: Any) -> None:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = self.resolved(name)
        for body in subgraphs(node):
            for inner in body.node:
                self._rename_in(inner)
            for output in body.output:
                output.name = self.resolved(output.name)

    def present(self) -> Iterator[Any]:
        """All nodes of the result, in order."""
        for index, node in enumerate(self._original):
            yield from self.nodes.get(index, [node])


def _mentions(node: Any, names: dict[str, str]) -> bool:
    if any(name in names for name in (*node.input, *node.output)):
        return True
    return any(_mentions(inner, names) for body in subgraphs(node) for inner in body.node)
