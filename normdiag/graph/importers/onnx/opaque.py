"""Words for operations that no affine map goes through."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from normdiag.graph.importers.onnx.functions import OPERATORS
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.importers.onnx.pointwise import pointwise
from normdiag.graph.importers.onnx.scope import GraphScope, UnnamedOp
from normdiag.records import Opaque, OpKind

NONLINEAR = "a nonlinearity"
# Larger constants are not read for a word about them.
MAX_READ = 2**16
ACTIVATIONS = frozenset(name for _, name in OPERATORS) | frozenset(
    {"Celu", "Softsign", "Erf", "ThresholdedRelu", "Softmax", "LogSoftmax", "Hardmax"}
)
_WORDS = (
    (NONLINEAR, "Exp Log Sqrt Abs Reciprocal Pow Sign Floor Ceil Round Max Min Sin Cos LRN LpNormalization Mod"),
    ("a pool that is not linear", "LpPool GlobalLpPool MaxRoiPool RoiAlign"),
    ("a branch", "If"),
    ("a loop", "Loop Scan"),
    ("a recurrent layer", "LSTM GRU RNN"),
    ("a quantized operation", "QuantizeLinear DequantizeLinear QLinearConv QLinearMatMul ConvInteger MatMulInteger"),
    ("a move of channels between positions", "DepthToSpace SpaceToDepth"),
    ("a lookup", "Gather GatherElements GatherND ScatterND ScatterElements"),
)
WHY: Mapping[str, str] = {op: why for why, ops in _WORDS for op in ops.split()}


def opaque(scope: GraphScope, node: Node, why: str = "") -> UnnamedOp:
    """An operation that nothing is known of but what it reads."""
    kind: OpKind = "activation" if node.op in ACTIVATIONS else "other"
    return UnnamedOp(kind, scope.data(node), Opaque(why or _why(scope, node), pointwise(scope, node)))


def _why(scope: GraphScope, node: Node) -> str:
    if (node.domain, node.op) in scope.functions:
        return "a function of the model's own"
    if node.op in ACTIVATIONS and node.domain in ("", "com.microsoft"):
        return NONLINEAR
    if node.domain:
        return f"an operator of the domain {node.domain!r}"
    if node.op in ("Mul", "Div"):
        return _why_no_product(scope, node)
    return WHY.get(node.op, "an operation that is not an affine map of each channel")


def _why_no_product(scope: GraphScope, node: Node) -> str:
    fixed = [scope.store.is_constant(name) for name in node.inputs]
    if True not in fixed:
        return "a product of two tensors" if node.op == "Mul" else "a quotient of two tensors"
    if node.op == "Div" and fixed[0]:
        return NONLINEAR
    return bad_constant(scope, node) or "a product with a constant that is no number for each channel"


def bad_constant(scope: GraphScope, node: Node) -> str | None:
    """What is wrong with the numbers in a constant of a node; None where nothing is."""
    arrays = [scope.store.constants.array(name, MAX_READ) for name in node.inputs if scope.store.is_constant(name)]
    values = [array.astype(np.float64) for array in arrays if array is not None and array.dtype.kind in "fV"]
    if not all(np.isfinite(each).all() for each in values):
        return "whose constant is not finite"
    return "which divides by zero" if node.op == "Div" and any((each == 0).any() for each in values) else None
