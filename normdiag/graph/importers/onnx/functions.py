"""The registry of functions (normdiag.ops) by ONNX operator, and their numbers read from a node."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from normdiag.graph.importers.onnx.constants import OnnxConstants
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.numbers import shortest
from normdiag.ops import FUNCTIONS, Activation, Operator

# onnx.AttributeProto types; 0 is what old exporters leave out.
UNTYPED, FLOAT = 0, 1


def _operators() -> Mapping[tuple[str, str], tuple[Operator, ...]]:
    found: dict[tuple[str, str], tuple[Operator, ...]] = {}
    for function in FUNCTIONS.values():
        for each in function.onnx:
            key = each.domain, each.name
            found[key] = (*found.get(key, ()), each)
    return found


OPERATORS = _operators()
"""What each operator, by domain and name, may be."""


@dataclass(frozen=True, eq=False)
class NodeValues:
    """The attributes of a node, and those of its inputs that hold a number (see normdiag.ops.function.Attributes)."""

    node: Node
    inputs: tuple[str, ...]
    constants: OnnxConstants

    def number(self, name: str, default: float) -> float:
        """A float attribute or constant input; NaN where it is computed or of another type."""
        attribute = self.node.attribute(name)
        if attribute is not None:
            return self.node.number(name, default) if attribute.type in (UNTYPED, FLOAT) else math.nan
        given = self.node.input(1 + self.inputs.index(name)) if name in self.inputs else ""
        return number(given, self.constants) if given else default

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        return self.node.text(name, default)


def function_of(node: Node, constants: OnnxConstants) -> Activation | None:
    """The activation that a node applies to its first input; None where it is none or its numbers are not known."""
    for operator in OPERATORS.get((node.domain, node.op), ()):
        function = operator.read(NodeValues(node, operator.inputs, constants))
        if function is not None:
            numbers = (function.alpha, function.beta, function.low, function.high)
            return None if any(map(math.isnan, numbers)) else function
    return None


def adds_bias(node: Node) -> bool:
    """Whether a node adds a second input to the first before it applies its function."""
    return bool(node.input(1)) and any(each.adds for each in OPERATORS.get((node.domain, node.op), ()))


def quantized_by(node: Node) -> tuple[str, ...]:
    """The scale and the zero point of a first input that is integers; () for one that is not."""
    if not any(each.quantized for each in OPERATORS.get((node.domain, node.op), ())):
        return ()
    return tuple(name for name in (node.input(1), node.input(2)) if name)


def number(tensor: str, constants: OnnxConstants) -> float:
    """A constant floating-point scalar; NaN for one that is computed or an integer."""
    value = constants.array(tensor, 1)
    if value is None or value.size != 1 or value.dtype.kind not in "fV":
        return math.nan
    return shortest(float(value.reshape(-1)[0]))
