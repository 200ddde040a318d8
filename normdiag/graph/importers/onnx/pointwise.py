"""Functions of each value by itself, with their numbers: what analysis without data follows through."""

from __future__ import annotations

from normdiag.graph.importers.onnx.functions import adds_bias, function_of
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.importers.onnx.scope import GraphScope
from normdiag.records import Pointwise


def pointwise(scope: GraphScope, node: Node) -> Pointwise | None:
    """The function that a node applies to each value of its first input; None where that is not known.

    A product is one of two tensors of which neither is constant.
    """
    if (node.domain, node.op) == ("", "PRelu"):
        return Pointwise("prelu", slope=scope.store.parameter(node.input(1), "slope"))
    if (node.domain, node.op) == ("", "Mul"):
        return Pointwise("product") if len(scope.data(node)) == 2 else None
    function = None if adds_bias(node) else function_of(node, scope.store.constants)
    return None if function is None else Pointwise.of(function)
