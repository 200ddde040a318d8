"""What no affine map goes through: every operator that is not known, with all the data that it reads."""

from __future__ import annotations

import operator

from torch.fx import Node

from normdiag.graph.importers.torch_export.calls import call_of, holds_tensors, operator_of, parts_of, words
from normdiag.graph.importers.torch_export.program import AnchoredOp, Program, shown
from normdiag.graph.recognise.einsum import NO_MATRIX, TWO_TENSORS
from normdiag.models.pytorch.torch_private import HigherOrderOperator
from normdiag.records.ops import Opaque, Pointwise

_WHY = {
    "scaled_dot_product_attention": "attention",
    "_scaled_dot_product_flash_attention_for_cpu": "attention",
    "embedding": "a table lookup",
    "expand": "a broadcast",
    "repeat": "a repetition",
    "mul": "a product of two activations",
    "matmul": "a product of two activations",
    "mm": "a product of two activations",
    "bmm": "a product of two activations",
    "div": "a quotient of two activations",
    "floor_divide": "a nonlinearity",
    "add": "a sum with something that varies in other ways",
    "lstm": "a recurrent layer",
    "gru": "a recurrent layer",
}
_DIVISIONS = words("div divide true_divide")
_PRODUCTS = words("mul multiply div divide true_divide")
UNKNOWN = "an operation that folding does not look into"


def opaque(node: Node, program: Program) -> tuple[AnchoredOp, ...]:
    """The draft of a node that is not understood; none for arithmetic on sizes and for checks of metadata."""
    items = [user for user in node.users if user.target is operator.getitem] if parts_of(node) else []
    inputs = tuple(each.name for each in program.data_read(node))
    if not inputs and not holds_tensors(node):
        return ()
    outputs = tuple(item.name for item in items)
    if len(items) < len(node.users) or not items:
        outputs = (*outputs, node.name)
    both = operator_of(node) in ("mul", "multiply") and all(map(program.is_data, node.args[:2]))
    detail = Opaque(_why(node, program), Pointwise("product") if both else None)
    return (AnchoredOp(node, shown(operator_of(node)), "other", detail, inputs, outputs, (node, *items)),)


def _why(node: Node, program: Program) -> str:
    if node.op == "placeholder":
        return "a buffer that the model changes"
    if isinstance(node.target, HigherOrderOperator):
        return "which runs a subgraph"
    name = operator_of(node)
    if name == "einsum":
        return TWO_TENSORS if sum(map(program.is_data, call_of(node).args["tensors"])) > 1 else NO_MATRIX
    if name in _DIVISIONS and (node.kwargs.get("rounding_mode") is not None or not program.is_data(node.args[0])):
        return "a nonlinearity"
    if name in _PRODUCTS and not all(map(program.is_data, node.args[:2])):
        return "a product with a constant that is not finite, or no number for each channel"
    return _WHY.get(name, UNKNOWN)
