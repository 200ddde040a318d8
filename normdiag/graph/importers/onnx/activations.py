"""Activation functions in a graph: operators, and the small graphs that exporters decompose them into.

The output of a Softmax is no activation in this sense, and is left out, as are the gates inside LSTM and GRU operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from normdiag.graph.importers.onnx.constants import Constants
from normdiag.graph.importers.onnx.layout import UNKNOWN, Layouts, unit_axis
from normdiag.graph.importers.onnx.nodes import PASSING, Graph, Node, shortest
from normdiag.graph.recognise.composites import recognise
from normdiag.graph.recognise.expressions import Expression, add, apply, constant, multiply, power, variable
from normdiag.models.onnx.program import ActivationSite

# Exporters write 'no bound' as the largest float.
NO_BOUND = 1e37
# The longest known form has 9; a chain of products with numbers may go on for ever.
MAX_NODES = 64
BIAS_INSIDE = "its bias is added inside the operator"
MICROSOFT = "com.microsoft"


@dataclass(frozen=True, eq=False)
class Finder:
    """The graph, what is known of it, the expressions of its tensors and the activations found so far, by node."""

    graph: Graph
    constants: Constants
    layouts: Layouts
    expressions: dict[str, Expression]
    found: dict[int, ActivationSite]

    def expression(self, tensor: str) -> Expression:
        """What is known of a tensor, itself if nothing is."""
        if tensor in self.expressions:
            return self.expressions[tensor]
        value = self.constants.scalar(tensor)
        return variable(self.graph.root(tensor), tensor) if value is None else constant(value)

    def add(
        self,
        node: Node,
        kind: str,
        tensor: str,
        parameters: Mapping[str, float] | None = None,
        nodes: tuple[int, ...] = (),
    ) -> None:
        """Record an activation that ends at `node`, unless it is one of weights."""
        if self.constants.is_constant(tensor):
            return
        layout = self.layouts.get(tensor, UNKNOWN)
        if layout.axis is None:
            layout = self.layouts.get(node.outputs[0], UNKNOWN) if layout.rank is None else layout
        biased = node.domain == MICROSOFT and kind.startswith("gelu") and bool(node.input(1))
        self.found[node.index] = ActivationSite(
            name=node.name,
            kind=kind,
            input=tensor,
            output=node.outputs[0],
            nodes=nodes or (node.index,),
            unit_axis=unit_axis(layout),
            rank=layout.rank,
            parameters=parameters or {},
            obstacle=BIAS_INSIDE if biased else None,
        )


def find_activations(graph: Graph, constants: Constants, layouts: Layouts) -> Mapping[int, ActivationSite]:
    """The activations of a graph by the index of the node that completes them. Names are the nodes' own."""
    finder = Finder(graph, constants, layouts, {}, {})
    for node in graph.nodes:
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
    composite = recognise(expression)
    if composite is None:
        return
    for index in expression.nodes:
        inner = finder.found.get(index)
        if inner is not None and index != node.index and finder.graph.used_once(inner.output):
            del finder.found[index]
    finder.add(node, composite.kind, composite.input, composite.parameters, tuple(sorted(expression.nodes)))


def _plain(kind: str, gate: str | None = None) -> Callable[[Finder, Node], Expression | None]:
    """An operator without parameters, and the gate that it is in expressions."""

    def rule(finder: Finder, node: Node) -> Expression | None:
        finder.add(node, kind, node.inputs[0])
        return apply(gate, finder.expression(node.inputs[0]), node.inputs[0]) if gate else None

    return rule


def _with(kind: str, **defaults: float) -> Callable[[Finder, Node], Expression | None]:
    """An operator with float attributes."""

    def rule(finder: Finder, node: Node) -> Expression | None:
        finder.add(node, kind, node.inputs[0], {name: node.number(name, value) for name, value in defaults.items()})
        return None

    return rule


def _erf(finder: Finder, node: Node) -> Expression | None:
    return apply("erf", finder.expression(node.inputs[0]), node.inputs[0])


def _hard_sigmoid(finder: Finder, node: Node) -> Expression | None:
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    finder.add(node, "hard_sigmoid", node.inputs[0], {"alpha": alpha, "beta": beta})
    return apply("hard_sigmoid", finder.expression(node.inputs[0]), node.inputs[0], alpha, beta)


def _gelu(finder: Finder, node: Node) -> Expression | None:
    finder.add(node, "gelu_tanh" if node.text("approximate", "none") == "tanh" else "gelu", node.inputs[0])
    return None


def _clip(finder: Finder, node: Node) -> Expression | None:
    """Clip, with its bounds as attributes before opset 11."""
    if finder.graph.opset < 11:
        return _bounded(finder, node, node.inputs[0], node.number("min", -math.inf), node.number("max", math.inf))
    low = _bound(finder, node.input(1)) if node.input(1) else -math.inf
    high = _bound(finder, node.input(2)) if node.input(2) else math.inf
    return None if low is None or high is None else _bounded(finder, node, node.inputs[0], low, high)


def _bound(finder: Finder, name: str) -> float | None:
    """A constant floating-point bound, None for one that is computed or an integer."""
    value = finder.constants.array(name, 1)
    if value is None or value.size != 1 or value.dtype.kind not in "fV":
        return None
    return shortest(float(value.reshape(-1)[0]))


def _extreme(finder: Finder, node: Node) -> Expression | None:
    """Max(x, low) and Min(x, high); one over the other is a clip."""
    if len(node.inputs) != 2:
        return None
    for tensor, other in (node.inputs, node.inputs[::-1]):
        bound = _bound(finder, other)
        if bound is None or finder.constants.is_constant(tensor):
            continue
        low, high = (bound, math.inf) if node.op == "Max" else (-math.inf, bound)
        return _merged(finder, node, tensor, low, high)
    return None


def _merged(finder: Finder, node: Node, tensor: str, low: float, high: float) -> Expression | None:
    """A bound, joined with the one below it."""
    inner, producer = finder.expressions.get(tensor), finder.graph.producer(tensor)
    gate = inner.gate if inner is not None and (inner.a, inner.b) == ((), (1.0,)) else None
    if gate is None or gate.name != "clip" or producer is None:
        return _bounded(finder, node, tensor, low, high)
    if finder.graph.used_once(tensor):
        finder.found.pop(producer.index, None)
    return _bounded(finder, node, gate.input, max(low, gate.low), min(high, gate.high))


def _bounded(finder: Finder, node: Node, tensor: str, low: float, high: float) -> Expression | None:
    """An activation where the bounds are those of one: a bound against rounding, say max(x, 1e-12), is none."""
    low, high = (-math.inf if low < -NO_BOUND else low), (math.inf if high > NO_BOUND else high)
    if low == 0.0 and high == math.inf:
        finder.add(node, "relu", tensor)
    elif (low, high) == (0.0, 6.0):
        finder.add(node, "relu6", tensor, {"min": low, "max": high})
    elif -math.inf < low <= 0.0 < high < math.inf:
        finder.add(node, "clip", tensor, {"min": low, "max": high})
    return apply("clip", finder.expression(tensor), tensor, low, high)


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
    ("", "Relu"): _plain("relu"),
    ("", "Sigmoid"): _plain("sigmoid", "sigmoid"),
    ("", "Tanh"): _plain("tanh", "tanh"),
    ("", "Softplus"): _plain("softplus", "softplus"),
    ("", "HardSwish"): _plain("hard_swish"),
    ("", "Mish"): _plain("mish"),
    ("", "Erf"): _erf,
    ("", "HardSigmoid"): _hard_sigmoid,
    ("", "LeakyRelu"): _with("leaky_relu", alpha=0.01),
    ("", "Elu"): _with("elu", alpha=1.0),
    ("", "Selu"): _with("selu", alpha=1.6732632, gamma=1.050701),
    ("", "Swish"): _with("silu", alpha=1.0),
    (MICROSOFT, "QuickGelu"): _with("silu", alpha=1.702),
    ("", "Gelu"): _gelu,
    (MICROSOFT, "Gelu"): _plain("gelu"),
    (MICROSOFT, "BiasGelu"): _plain("gelu"),
    (MICROSOFT, "FastGelu"): _plain("gelu_tanh"),
    ("", "Clip"): _clip,
    ("", "Max"): _extreme,
    ("", "Min"): _extreme,
    **{("", op): _arithmetic for op in ("Add", "Sub", "Mul", "Div")},
    ("", "Pow"): _pow,
    **{("", op): _pass for op in PASSING},
}
