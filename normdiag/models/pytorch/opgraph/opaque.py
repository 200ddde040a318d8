"""What no affine map goes through: every operator that is not known, with all the data that it reads."""

from __future__ import annotations

import operator

from torch._ops import HigherOrderOperator
from torch.fx import Node

from normdiag.models.pytorch.opgraph.calls import holds_tensors, operator_of, parts_of
from normdiag.models.pytorch.opgraph.program import Draft, Program, shown
from normdiag.records.ops import Opaque

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
    "add": "a sum with something that varies in other ways",
    "lstm": "a recurrent layer",
    "gru": "a recurrent layer",
}
UNKNOWN = "an operation that folding does not look into"


def opaque(node: Node, program: Program) -> tuple[Draft, ...]:
    """The draft of a node that is not understood; none for arithmetic on sizes and for checks of metadata."""
    items = [user for user in node.users if user.target is operator.getitem] if parts_of(node) else []
    inputs = tuple(each.name for each in program.data_read(node))
    if not inputs and not holds_tensors(node):
        return ()
    outputs = tuple(item.name for item in items)
    if len(items) < len(node.users) or not items:
        outputs = (*outputs, node.name)
    detail = Opaque(_why(node))
    return (Draft(node, shown(operator_of(node)), "other", detail, inputs, outputs, (node, *items)),)


def _why(node: Node) -> str:
    if node.op == "placeholder":
        return "a buffer that the model changes"
    if isinstance(node.target, HigherOrderOperator):
        return "which runs a subgraph"
    name = operator_of(node)
    return _WHY.get(name, UNKNOWN)
