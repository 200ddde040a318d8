"""Activation functions in a graph: operators, and the small graphs that exporters decompose them into.

The output of a Softmax is no activation in this sense, and is left out, as are the gates inside LSTM and GRU operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from normdiag.graph.importers.onnx.constants import Constants
from normdiag.graph.importers.onnx.features import Axes, unit_axis
from normdiag.graph.importers.onnx.functions import OPERATORS, adds_bias, function_of, number
from normdiag.graph.importers.onnx.nodes import PASSING, Graph, Node
from normdiag.graph.importers.onnx.view import View
from normdiag.models.onnx.program import ActivationSite
from normdiag.ops import FUNCTIONS, Activation, recognise
from normdiag.ops.clip import clip
from normdiag.ops.expressions import ERF, Expression, add, apply, constant, multiply, power, variable

# The longest known form has 9; a chain of products with numbers may go on for ever.
MAX_NODES = 64
# What other activations are written out with.
GATES = frozenset(kind for function in FUNCTIONS.values() for kind in function.written) | {"softplus"}
BIAS_INSIDE = "its bias is added inside the operator"


@dataclass(frozen=True, eq=False)
class Finder:
    """The graph, what is known of it, the expressions of its tensors and the activations found so far, by node."""

    view: View
    axes: Axes
    expressions: dict[str, Expression]
    found: dict[int, ActivationSite]

    @property
    def graph(self) -> Graph:
        """The graph."""
        return self.view.graph

    @property
    def constants(self) -> Constants:
        """What is constant in it."""
        return self.view.constants

    def expression(self, tensor: str) -> Expression:
        """What is known of a tensor, itself if nothing is."""
        if tensor in self.expressions:
            return self.expressions[tensor]
        value = self.constants.scalar(tensor)
        return variable(self.graph.root(tensor), tensor) if value is None else constant(value)

    def add(self, node: Node, function: Activation, tensor: str, nodes: tuple[int, ...] = ()) -> None:
        """Record an activation that ends at `node`, unless it is one of weights."""
        if self.constants.is_constant(tensor):
            return
        rank, axis = self.view.book.listed_rank(tensor), self.axes.get(tensor)
        if axis is None and rank is None:
            rank, axis = self.view.book.listed_rank(node.outputs[0]), self.axes.get(node.outputs[0])
        self.found[node.index] = ActivationSite(
            name=node.name,
            function=function,
            input=tensor,
            output=node.outputs[0],
            nodes=nodes or (node.index,),
            unit_axis=unit_axis(axis, rank),
            rank=rank,
            obstacle=BIAS_INSIDE if adds_bias(node) else None,
        )


def find_activations(view: View, axes: Axes) -> Mapping[int, ActivationSite]:
    """The activations of a graph by the index of the node that completes them. Names are the nodes' own."""
    finder = Finder(view, axes, {}, {})
    for node in view.graph.nodes:
        rule = _RULES.get((node.domain, node.op))
        if rule is None or not node.input(0) or not node.outputs or not node.outputs[0]:
            continue
        expression = rule(finder, node)
        if expression is not None and len(expression.nodes) < MAX_NODES:
            expression = replace(expression, nodes=expression.nodes | {node.index})
            finder.expressions[node.outputs[0]] = expression
            _compose(finder, node, expression)
    return finder.found


def _compose(finder: Finder, node: Node, expression: Expression) -> None:
    """Record a composite that is complete at `node`, in place of the activations that it is made of."""
    written = recognise(expression)
    if written is None:
        return
    for index in expression.nodes:
        inner = finder.found.get(index)
        if inner is not None and index != node.index and finder.graph.used_once(inner.output):
            del finder.found[index]
    finder.add(node, written.function, written.input, tuple(sorted(expression.nodes)))


def _operator(finder: Finder, node: Node) -> Expression | None:
    """An operator of the registry, and its expression where others are written out with it."""
    function = function_of(node, finder.constants)
    if function is None:
        return None
    finder.add(node, function, node.inputs[0])
    if function.kind not in GATES:
        return None
    return apply(function, finder.expression(node.inputs[0]), node.inputs[0])


def _clip(finder: Finder, node: Node) -> Expression | None:
    function = function_of(node, finder.constants)
    return None if function is None else _bounded(finder, node, node.inputs[0], function)


def _erf(finder: Finder, node: Node) -> Expression | None:
    return apply(ERF, finder.expression(node.inputs[0]), node.inputs[0])


def _extreme(finder: Finder, node: Node) -> Expression | None:
    """Max(x, low) and Min(x, high); one over the other is a clip."""
    if len(node.inputs) != 2:
        return None
    for tensor, other in (node.inputs, node.inputs[::-1]):
        bound = number(other, finder.constants)
        if math.isnan(bound) or finder.constants.is_constant(tensor):
            continue
        low, high = (bound, math.inf) if node.op == "Max" else (-math.inf, bound)
        return _merged(finder, node, tensor, low, high)
    return None


def _merged(finder: Finder, node: Node, tensor: str, low: float, high: float) -> Expression | None:
    """A bound, joined with the one below it."""
    inner, producer = finder.expressions.get(tensor), finder.graph.producer(tensor)
    gate = inner.gate if inner is not None and (inner.a, inner.b) == ((), (1.0,)) else None
    if gate is None or gate.function.kind != "clip" or producer is None:
        return _bounded(finder, node, tensor, clip(low, high))
    if finder.graph.used_once(tensor):
        finder.found.pop(producer.index, None)
    return _bounded(finder, node, gate.input, clip(max(low, gate.function.low), min(high, gate.function.high)))


def _bounded(finder: Finder, node: Node, tensor: str, function: Activation) -> Expression | None:
    """An activation where the bounds are those of one: a bound against rounding, say max(x, 1e-12), is none."""
    if not FUNCTIONS[function.kind].guards(function):
        finder.add(node, function, tensor)
    return apply(replace(function, kind="clip"), finder.expression(tensor), tensor)


def _arithmetic(finder: Finder, node: Node) -> Expression | None:
    if len(node.inputs) != 2:
        return None
    left, right = (finder.expression(name) for name in node.inputs)
    if node.op == "Mul":
        return multiply(left, right)
    if node.op == "Div":
        divisor = right.a[0] if not right.root and right.a else 0.0
        return multiply(left, constant(1.0 / divisor)) if divisor else None
    return add(left, right, -1.0 if node.op == "Sub" else 1.0)


def _pow(finder: Finder, node: Node) -> Expression | None:
    exponent = finder.constants.scalar(node.input(1))
    return power(finder.expression(node.inputs[0]), int(exponent)) if exponent in (2.0, 3.0) else None


def _pass(finder: Finder, node: Node) -> Expression | None:
    return finder.expressions.get(node.inputs[0])


_RULES: Mapping[tuple[str, str], Callable[[Finder, Node], Expression | None]] = {
    **dict.fromkeys(OPERATORS, _operator),
    ("", "Clip"): _clip,
    ("", "Erf"): _erf,
    ("", "Max"): _extreme,
    ("", "Min"): _extreme,
    **{("", op): _arithmetic for op in ("Add", "Sub", "Mul", "Div")},
    ("", "Pow"): _pow,
    **{("", op): _pass for op in PASSING},
}
