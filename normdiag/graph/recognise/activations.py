"""Activation functions in a graph: functions that it calls, and those that it spells out in elementary steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from normdiag.graph.numbers import shortest
from normdiag.graph.recognise.steps import Operand, Step, Tensors
from normdiag.ops import FUNCTIONS, Activation, recognise
from normdiag.ops.clip import clip
from normdiag.ops.expressions import ERF, Expression, add, apply, constant, multiply, power, variable

# The longest known form has 9; a chain of products with numbers may go on for ever.
MAX_NODES = 64
# What other activations are written out with.
GATES = frozenset(kind for function in FUNCTIONS.values() for kind in function.written) | {"softplus"}


@dataclass(frozen=True)
class Activated:
    """`output` is `function` of `input`. `nodes` are the places of its steps, `core` is that of the last."""

    function: Activation
    input: str
    output: str
    core: int
    nodes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Finder:
    """What is known of the tensors, their expressions, and the activations found so far by their last steps."""

    tensors: Tensors
    expressions: dict[str, Expression]
    found: dict[int, Activated]

    def expression(self, operand: Operand) -> Expression:
        """What is known of a tensor, itself if nothing is."""
        if isinstance(operand, str) and operand in self.expressions:
            return self.expressions[operand]
        value = self.tensors.scalar(operand)
        return variable(self.tensors.root(operand), str(operand)) if value is None else constant(value)

    def add(self, step: Step, function: Activation, tensor: Operand, nodes: tuple[int, ...] = ()) -> None:
        """Record an activation that ends at this step, unless it is one of weights."""
        if isinstance(tensor, str) and not self.tensors.is_constant(tensor):
            self.found[step.place] = Activated(function, tensor, step.output, step.place, nodes or (step.place,))


def find_activations(steps: Iterable[Step], tensors: Tensors) -> Mapping[int, Activated]:
    """The activations of a graph by the place of the step that completes them."""
    finder = Finder(tensors, {}, {})
    for step in steps:
        rule = _RULES.get(step.kind)
        expression = rule(finder, step) if rule is not None else None
        if expression is not None and len(expression.nodes) < MAX_NODES:
            expression = replace(expression, nodes=expression.nodes | {step.place})
            finder.expressions[step.output] = expression
            _compose(finder, step, expression)
    return finder.found


def _compose(finder: Finder, step: Step, expression: Expression) -> None:
    """Record a composite that is complete with a step, in place of the activations that it is made of."""
    written = recognise(expression)
    if written is None:
        return
    for place in expression.nodes:
        inner = finder.found.get(place)
        if inner is not None and place != step.place and finder.tensors.used_once(inner.output):
            del finder.found[place]
    finder.add(step, written.function, written.input, tuple(sorted(expression.nodes)))


def _function(finder: Finder, step: Step) -> Expression | None:
    """A function of the registry, and its expression where others are written out with it."""
    tensor = step.inputs[0]
    if step.function is None or not isinstance(tensor, str):
        return None
    finder.add(step, step.function, tensor)
    return apply(step.function, finder.expression(tensor), tensor) if step.function.kind in GATES else None


def _clip(finder: Finder, step: Step) -> Expression | None:
    tensor = step.inputs[0]
    if step.function is None or not isinstance(tensor, str):
        return None
    return _bounded(finder, step, tensor, step.function)


def _erf(finder: Finder, step: Step) -> Expression | None:
    tensor = step.inputs[0]
    return apply(ERF, finder.expression(tensor), tensor) if isinstance(tensor, str) else None


def _extreme(finder: Finder, step: Step) -> Expression | None:
    """max(x, low) and min(x, high); one over the other is a clip."""
    for tensor, other in (step.inputs, step.inputs[::-1]):
        bound = finder.tensors.scalar(other)
        if bound is None or not isinstance(tensor, str) or finder.tensors.is_constant(tensor):
            continue
        limit = shortest(bound)
        low, high = (limit, math.inf) if step.kind == "max" else (-math.inf, limit)
        return _merged(finder, step, tensor, low, high)
    return None


def _merged(finder: Finder, step: Step, tensor: str, low: float, high: float) -> Expression | None:
    """A bound, joined with the one below it."""
    inner, maker = finder.expressions.get(tensor), finder.tensors.maker(tensor)
    gate = inner.gate if inner is not None and (inner.a, inner.b) == ((), (1.0,)) else None
    if gate is None or gate.function.kind != "clip" or maker is None:
        return _bounded(finder, step, tensor, clip(low, high))
    if finder.tensors.used_once(tensor):
        finder.found.pop(maker.place, None)
    return _bounded(finder, step, gate.input, clip(max(low, gate.function.low), min(high, gate.function.high)))


def _bounded(finder: Finder, step: Step, tensor: str, function: Activation) -> Expression | None:
    """An activation where the bounds are those of one: a bound against rounding, say max(x, 1e-12), is none."""
    if not FUNCTIONS[function.kind].guards(function):
        finder.add(step, function, tensor)
    return apply(replace(function, kind="clip"), finder.expression(tensor), tensor)


def _arithmetic(finder: Finder, step: Step) -> Expression | None:
    left, right = (finder.expression(operand) for operand in step.inputs)
    if step.kind == "mul":
        return multiply(left, right)
    if step.kind == "div":
        divisor = right.a[0] if not right.root and right.a else 0.0
        return multiply(left, constant(1.0 / divisor)) if divisor else None
    return add(left, right, -1.0 if step.kind == "sub" else 1.0)


def _pow(finder: Finder, step: Step) -> Expression | None:
    exponent = finder.tensors.scalar(step.inputs[1])
    return power(finder.expression(step.inputs[0]), int(exponent)) if exponent in (2.0, 3.0) else None


def _pass(finder: Finder, step: Step) -> Expression | None:
    return finder.expressions.get(str(step.inputs[0]))


_RULES: Mapping[str, Callable[[Finder, Step], Expression | None]] = {
    "function": _function,
    "clip": _clip,
    "erf": _erf,
    **dict.fromkeys(("max", "min"), _extreme),
    **dict.fromkeys(("add", "sub", "mul", "div"), _arithmetic),
    "pow": _pow,
    "pass": _pass,
}
