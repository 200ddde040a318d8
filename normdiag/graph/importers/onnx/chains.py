"""Chains of elementwise arithmetic with constants: a BatchNorm taken apart, a scale and shift, a bias.

A chain is y = scale * x + shift, made of Add, Sub, Mul, Div and Neg with constants that are finite. Each of them varies
along one axis, the channels, the same for all, or is a single number. Nobody else reads what lies inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from normdiag.graph.eval_norm import NOT_TOLD
from normdiag.graph.importers.onnx.attributes import Unclear
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.importers.onnx.scope import Claim, Draft, Scope
from normdiag.records import NormLayer, ScaleShift, Sizes
from normdiag.records.model import Array

OPERATORS = frozenset({"Add", "Sub", "Mul", "Div", "Neg"})
RESHAPES = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"})
MAX_VIEWS = 8


@dataclass(frozen=True, eq=False)
class Link:
    """One node of a chain as scale * x + shift; `axis` is where its constant varies, None for a single number."""

    node: Node
    data: str
    scale: Array
    shift: Array
    axis: int | None
    constant: str

    @property
    def output(self) -> str:
        """The tensor that it writes."""
        return self.node.outputs[0]


def chains(scope: Scope, free: set[int]) -> Iterator[Claim]:
    """The chains among the nodes that are still free."""
    links = {node.outputs[0]: link for node in scope.graph.nodes if (link := _link(scope, node, free)) is not None}
    taken: set[str] = set()
    for first in links.values():
        if first.output in taken:
            continue
        chain = _chain(scope, first, links)
        taken.update(link.output for link in chain)
        yield from _claims(scope, chain)


def _chain(scope: Scope, first: Link, links: dict[str, Link]) -> list[Link]:
    """A link and those that follow it, as long as they belong to one axis."""
    chain, axis = [first], first.axis
    while True:
        output = chain[-1].output
        readers = scope.readers.get(output, ())
        if len(readers) != 1 or not scope.private(output, readers):
            return chain
        outputs = scope.graph.nodes[readers[0]].outputs
        following = links.get(outputs[0]) if outputs else None
        if following is None or (axis is not None and following.axis not in (None, axis)):
            return chain
        axis = following.axis if axis is None else axis
        chain.append(following)


def _claims(scope: Scope, chain: list[Link]) -> Iterator[Claim]:
    axis = next((link.axis for link in chain if link.axis is not None), None)
    if axis is not None and _belongs_to_norm(scope, chain[0].data):
        return
    scale, shift = _composed(chain)
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        return
    nodes = tuple(sorted(link.node.index for link in chain))
    operator = "+".join(link.node.op for link in chain)
    layer = _layer(scale, shift, operator) if _is_norm(chain) else None
    detail = ScaleShift(scale, shift, layer, _obstacle(scope, chain))
    draft = Draft("scale_shift", (chain[0].data,), detail)
    yield Claim(draft, operator, (chain[-1].output,), nodes, nodes[-1])


def _belongs_to_norm(scope: Scope, tensor: str) -> bool:
    """Whether the data comes from a normalization by its own moments, whose gamma and beta these are then.

    Some exporters write such a one as a BatchNormalization with mean and variance that the graph computes.
    """
    node = scope.graph.producer(tensor)
    for _ in range(MAX_VIEWS):
        if node is None or node.op not in RESHAPES:
            break
        node = scope.graph.producer(node.input(0))
    if node is None or not node.op.endswith(("Normalization", "GroupNorm")):
        return False
    return node.op != "BatchNormalization" or not all(map(scope.store.is_constant, node.inputs[1:5]))


def _composed(chain: list[Link]) -> tuple[Array, Array]:
    scale, shift = np.ones(()), np.zeros(())
    with np.errstate(all="ignore"):
        for link in chain:
            scale, shift = link.scale * scale, link.scale * shift + link.shift
    return scale, shift if shift.any() else np.zeros((1,) * shift.ndim)


def _is_norm(chain: list[Link]) -> bool:
    """Whether it scales and shifts, each channel in its own way."""
    vary = {link.node.op for link in chain if link.axis is not None}
    return not vary.isdisjoint({"Mul", "Div"}) and not vary.isdisjoint({"Add", "Sub"})


def _layer(scale: Array, shift: Array, operator: str) -> NormLayer:
    """The BatchNorm that was taken apart; its name is that of the operation, and comes later (see naming.py)."""
    return NormLayer(
        name="",
        kind="batch_norm",
        origin="decomposed",
        channels=scale.size,
        gamma=scale.reshape(-1),
        beta=np.broadcast_to(shift, scale.shape).reshape(-1),
        training=False,
        class_name=operator,
        notes=(NOT_TOLD,),
    )


def _obstacle(scope: Scope, chain: list[Link]) -> str | None:
    for link in chain:
        obstacle = scope.store.obstacle(link.constant) if link.constant else None
        if obstacle:
            return obstacle
    return None


def _link(scope: Scope, node: Node, free: set[int]) -> Link | None:
    """A node as a link; None where it is none."""
    if node.op not in OPERATORS or node.domain or node.index not in free or not node.outputs or not node.outputs[0]:
        return None
    try:
        return _negative(scope, node) if node.op == "Neg" else _binary(scope, node)
    except (Unclear, ValueError):  # ValueError: more dimensions than numpy has
        return None


def _negative(scope: Scope, node: Node) -> Link | None:
    rank = scope.book.rank(node.input(0))
    if rank is None or not scope.is_float(node.inputs[0]) or scope.store.is_constant(node.inputs[0]):
        return None
    return Link(node, node.inputs[0], np.full((1,) * rank, -1.0), np.zeros((1,) * rank), None, "")


def _binary(scope: Scope, node: Node) -> Link | None:
    fixed = [scope.store.is_constant(name) for name in node.inputs]
    if len(fixed) != 2 or fixed[0] == fixed[1] or (node.op == "Div" and fixed[0]):
        return None
    constant, data = node.inputs if fixed[0] else node.inputs[::-1]
    sizes = scope.book.of(data)
    values = _values(scope, constant, sizes) if sizes is not None and scope.is_float(data) else None
    if values is None:
        return None
    axis = next((i for i, size in enumerate(values.shape) if size > 1), None)
    pair = _affine(node.op, values, first=fixed[0])
    return None if pair is None else Link(node, data, *pair, axis, constant)


def _values(scope: Scope, constant: str, sizes: Sizes) -> Array | None:
    """A finite constant in float64 and the rank of the data, if it leaves the dimensions of the data as they are."""
    shape = scope.book.shape(constant)
    if shape is None or len(shape) > len(sizes) or sum(size != 1 for size in shape) > 1:
        return None
    # Along a dimension of 1 the constant would make the tensor longer.
    if any(length not in (1, size.known) for length, size in zip(shape[::-1], sizes[::-1], strict=False)):
        return None
    values = scope.store.array(constant)
    if values is None or values.dtype.kind not in "fV" or not np.isfinite(values.astype(np.float64)).all():
        return None
    return values.astype(np.float64).reshape((1,) * (len(sizes) - values.ndim) + values.shape)


def _affine(operator: str, constant: Array, first: bool) -> tuple[Array, Array] | None:
    """Scale and shift; `first`: the constant is the first operand."""
    one, zero = np.ones((1,) * constant.ndim), np.zeros((1,) * constant.ndim)
    if operator == "Mul":
        return constant, zero
    if operator == "Div":
        return None if (constant == 0).any() else (1.0 / constant, zero)
    if operator == "Add":
        return one, constant
    return (-one, constant) if first else (one, -constant)
