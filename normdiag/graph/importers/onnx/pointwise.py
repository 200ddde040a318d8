"""Functions of each value by itself, with their numbers: what analysis without data follows through."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from normdiag.graph.importers.onnx.attributes import Unclear, number, text
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.importers.onnx.scope import Scope
from normdiag.records import Pointwise


def pointwise(scope: Scope, node: Node) -> Pointwise | None:
    """The function that a node applies to each value of its first input; None where that is not known.

    A product is one of two tensors of which neither is constant.
    """
    rule = _RULES.get(node.op) if not node.domain else None
    try:
        return None if rule is None else rule(scope, node)
    except Unclear:
        return None


def _plain(kind: str) -> Callable[[Scope, Node], Pointwise]:
    return lambda scope, node: Pointwise(kind)


def _with(kind: str, alpha: float, **beta: float) -> Callable[[Scope, Node], Pointwise]:
    """`beta` is the attribute of that name, or another one in its place, and its default."""
    name, default = next(iter(beta.items()), ("beta", 0.0))
    return lambda scope, node: Pointwise(kind, number(node, "alpha", alpha), number(node, name, default))


def _clip(scope: Scope, node: Node) -> Pointwise | None:
    """With its bounds as attributes before operator set 11."""
    if scope.opset < 11:
        return Pointwise("clip", low=number(node, "min", -math.inf), high=number(node, "max", math.inf))
    low = scope.store.constants.scalar(node.input(1)) if node.input(1) else -math.inf
    high = scope.store.constants.scalar(node.input(2)) if node.input(2) else math.inf
    return None if low is None or high is None else Pointwise("clip", low=low, high=high)


def _gelu(_: Scope, node: Node) -> Pointwise:
    return Pointwise("gelu_tanh" if text(node, "approximate", "none") == "tanh" else "gelu")


def _prelu(scope: Scope, node: Node) -> Pointwise:
    return Pointwise("prelu", slope=scope.store.parameter(node.input(1), "slope"))


def _product(scope: Scope, node: Node) -> Pointwise | None:
    return Pointwise("product") if len(scope.data(node)) == 2 else None


_RULES: Mapping[str, Callable[[Scope, Node], Pointwise | None]] = {
    "Relu": _plain("relu"),
    "Sigmoid": _plain("sigmoid"),
    "Tanh": _plain("tanh"),
    "Softplus": _plain("softplus"),
    "HardSwish": _plain("hard_swish"),
    "Mish": _plain("mish"),
    "LeakyRelu": _with("leaky_relu", 0.01),
    "Elu": _with("elu", 1.0),
    "Selu": _with("selu", 1.6732632, gamma=1.050701),
    "HardSigmoid": _with("hard_sigmoid", 0.2, beta=0.5),
    "Swish": _with("silu", 1.0),
    "Gelu": _gelu,
    "Clip": _clip,
    "PRelu": _prelu,
    "Mul": _product,
}
