"""The nodes of an exported program as steps of arithmetic."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch.fx import Node

from normdiag.graph.importers.torch_export.calls import (
    Call,
    axes_of,
    call_of,
    is_tensor,
    operator_of,
    rank_of,
    sizes_of,
    words,
)
from normdiag.graph.importers.torch_export.program import Program
from normdiag.graph.recognise.steps import Operand, Step
from normdiag.records import Size, Sizes
from normdiag.records.model import Array

# No normalization layer has more parameters.
MAX_ELEMENTS = 2**26


@dataclass(frozen=True, eq=False)
class TorchTensors:
    """What recognition asks of the tensors of an exported program (graph.recognise.steps.Tensors)."""

    program: Program

    @cached_property
    def nodes(self) -> Mapping[str, Node]:
        """All nodes by name."""
        return {node.name: node for node in self.program.nodes}

    @cached_property
    def steps(self) -> Mapping[str, Step]:
        """The steps by the tensor that they write, in the order of the graph."""
        return {step.output: step for step in _steps(self.program)}

    def is_constant(self, operand: Operand) -> bool:
        """Whether it depends on no input of the graph."""
        return not isinstance(operand, str) or self.nodes[operand] in self.program.constants

    def scalar(self, operand: Operand) -> float | None:
        """A number, or a constant of one element."""
        if not isinstance(operand, str):
            return float(operand)
        value = self._value(operand, 1)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None

    def array(self, operand: Operand) -> Array | None:
        """The values of a constant."""
        return self._value(operand, MAX_ELEMENTS) if isinstance(operand, str) else None

    def shape(self, operand: Operand) -> tuple[int | None, ...] | None:
        """Its dimensions, None for one that is free."""
        return tuple(size.known for size in sizes_of(self.nodes[operand])) if isinstance(operand, str) else ()

    def rank(self, operand: Operand) -> int | None:
        """The number of its dimensions."""
        return rank_of(self.nodes[operand]) if isinstance(operand, str) else 0

    def sizes(self, operand: Operand) -> Sizes | None:
        """Its dimensions with free ones as symbols."""
        return sizes_of(self.nodes[operand]) if isinstance(operand, str) else ()

    def count(self, operand: Operand) -> Size | None:
        """None: torch.export has no tensors that hold dimensions."""

    def read_only_by(self, operand: Operand, places: Collection[int]) -> bool:
        """Whether nobody reads it but the nodes at these places."""
        if not isinstance(operand, str):
            return False
        return {self.program.index[each] for each in self.program.readers(self.nodes[operand])} <= set(places)

    def used_once(self, operand: Operand) -> bool:
        """Whether one node, and nobody else, reads its values."""
        return isinstance(operand, str) and len(self.program.readers(self.nodes[operand])) == 1

    def root(self, operand: Operand) -> str:
        """Through casts and what else hands on its input."""
        while isinstance(operand, str) and (step := self.steps.get(operand)) is not None and step.kind == "pass":
            operand = step.inputs[0]
        return operand if isinstance(operand, str) else ""

    def maker(self, operand: Operand) -> Step | None:
        """The step that writes it."""
        return self.steps.get(operand) if isinstance(operand, str) else None

    def _value(self, name: str, limit: int) -> Array | None:
        node = self.nodes[name]
        if not self.program.is_constant(node):
            return None
        return self.program.array(node) if node.meta["val"].numel() <= limit else None


def _steps(program: Program) -> Iterator[Step]:
    for node in program.nodes:
        if node.op != "call_function" or not is_tensor(node) or node in program.changed:
            continue
        found = _moment(node) if node.target is operator.getitem else _kind_and_inputs(call_of(node))
        if found is None:
            continue
        kind, inputs, more = found
        operands = tuple(each.name if isinstance(each, Node) else each for each in inputs)
        if all(is_tensor(each) and each not in program.changed for each in inputs if isinstance(each, Node)):
            yield Step(program.index[node], kind, operands, node.name, **more)


Found = tuple[str, tuple[Any, ...], Mapping[str, Any]]


def _kind_and_inputs(call: Call) -> Found | None:
    name, values = call.operator, list(call.args.values())
    if name in _REDUCTIONS:
        return _REDUCTIONS[name](call)
    if name in _UNARY:
        return _UNARY[name], tuple(values[:1]), {}
    if name in ("clamp_min", "relu") or (name == "clamp" and call.args.get("max") is None):
        return _numbered("max", [*values, 0.0][:2])
    kind = _BINARY.get(name)
    if kind is None or call.args.get("alpha", 1) != 1 or call.args.get("rounding_mode") is not None:
        return None
    return _numbered(kind, values[1::-1] if name == "rsub" else values[:2])


def _numbered(kind: str, inputs: list[Any]) -> Found | None:
    """With two operands, tensors or numbers."""
    fits = len(inputs) == 2 and all(isinstance(each, (Node, int, float)) for each in inputs)
    return (kind, tuple(inputs), {}) if fits else None


def _reduction(kind: str, call: Call) -> Found | None:
    if not isinstance(call.first, Node) or call.args.get("dtype") is not None:
        return None
    axes = axes_of(call.args.get("dim"), rank_of(call.first))
    return kind, (call.first,), {"axes": axes, "kept": bool(call.args.get("keepdim", False))}


def _spread(kind: str, call: Call) -> Found | None:
    """A variance or a standard deviation, over n or over n - 1."""
    correction = 0 if call.args.get("unbiased") is False else call.args.get("correction", 1)
    found = _reduction(kind, call) if correction in (0, 1, None) else None
    return None if found is None else (*found[:2], {**found[2], "unbiased": correction != 0})


def _length(call: Call) -> Found | None:
    """The root of a sum of squares."""
    return _reduction("norm", call) if call.args.get("ord", call.args.get("p")) in (2, None) else None


def _moment(item: Node) -> Found | None:
    """One of the two that var_mean and std_mean return."""
    source, place = item.args[:2]
    kind = _PAIRS.get(operator_of(source)) if isinstance(source, Node) else None
    if kind is None or not isinstance(source, Node):
        return None
    call = call_of(source)
    return _reduction("mean", call) if place else _spread(kind, call)


_REDUCTIONS: Mapping[str, Callable[[Call], Found | None]] = {
    "mean": lambda call: _reduction("mean", call),
    "sum": lambda call: _reduction("sum", call),
    "var": lambda call: _spread("variance", call),
    "std": lambda call: _spread("deviation", call),
    **dict.fromkeys(("linalg_vector_norm", "norm"), _length),
}
_PAIRS = {"var_mean": "variance", "std_mean": "deviation"}
_BINARY = {
    **dict.fromkeys(("add",), "add"),
    **dict.fromkeys(("sub", "subtract", "rsub"), "sub"),
    **dict.fromkeys(("mul", "multiply"), "mul"),
    **dict.fromkeys(("div", "divide", "true_divide"), "div"),
    "pow": "pow",
    "maximum": "max",
}
_UNARY = {
    **{name: name for name in ("sqrt", "rsqrt", "reciprocal", "square", "neg")},
    **dict.fromkeys(words("to _to_copy type_as float half bfloat16 double prims.convert_element_type"), "pass"),
    **dict.fromkeys(words("clone contiguous alias detach lift_fresh_copy"), "pass"),
    **dict.fromkeys(words("view reshape _unsafe_view flatten unflatten squeeze"), "reshape"),
    "unsqueeze": "broadcast",
    **dict.fromkeys(words("expand expand_as"), "expand"),
}
