"""Chains of elementwise arithmetic with constants that are finite (see graph.recognise.chains)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from normdiag.graph.importers.onnx.attributes import Unclear
from normdiag.graph.importers.onnx.nodes import Node
from normdiag.graph.importers.onnx.scope import Claim, GraphScope, UnnamedOp
from normdiag.graph.recognise.chains import Chain, Link, chains
from normdiag.records import ScaleShift, Sizes
from normdiag.records.model import Array

OPERATORS = frozenset({"Add", "Sub", "Mul", "Div", "Neg"})
RESHAPES = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"})
MAX_VIEWS = 8
# What computes moments, and what may be done to them before the data is divided by them.
MOMENTS = frozenset({"ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "GlobalAveragePool"})
ELEMENTWISE = OPERATORS | RESHAPES | {"Expand", "Sqrt", "Pow", "Reciprocal", "Abs", "Max", "Clip"}
MAX_STEPS = 40


def chain_claims(scope: GraphScope, free: set[int]) -> Iterator[Claim]:
    """The chains among the nodes that are still free."""
    links = {node.outputs[0]: link for node in scope.graph.nodes if (link := _link(scope, node, free)) is not None}

    def reader(tensor: str) -> str | None:
        readers = scope.readers.get(tensor, ())
        if len(readers) != 1 or not scope.private(tensor, readers):
            return None
        return next(iter(scope.graph.nodes[readers[0]].outputs), None)

    for chain in chains(links, reader):
        if chain.axis is None or not _belongs_to_norm(scope, chain.links[0].data):
            yield from _claim(scope, chain)


def _claim(scope: GraphScope, chain: Chain) -> Iterator[Claim]:
    composed = chain.composed()
    if composed is None:
        return
    scale, shift = composed
    shift = shift if shift.any() else np.zeros((1,) * shift.ndim)
    nodes = tuple(sorted(scope.graph.producers[link.output].index for link in chain.links))
    moments = chain.is_norm and _divides_by_moments(scope, chain.links[0].data)
    layer = chain.layer(scale, shift) if chain.is_norm and not moments else None
    draft = UnnamedOp("scale_shift", (chain.links[0].data,), ScaleShift(scale, shift, layer, chain.obstacle))
    yield Claim(draft, chain.operator, (chain.links[-1].output,), nodes, nodes[-1])


def _belongs_to_norm(scope: GraphScope, tensor: str) -> bool:
    """Whether the data comes from a normalization by its own moments, whose gamma and beta these are then.

    Some exporters write such a one as a BatchNormalization with mean and variance that the graph computes.
    """
    node = _before_views(scope, tensor)
    if node is None or not node.op.endswith(("Normalization", "GroupNorm")):
        return False
    return node.op != "BatchNormalization" or not all(map(scope.store.is_constant, node.inputs[1:5]))


def _divides_by_moments(scope: GraphScope, tensor: str) -> bool:
    """Whether the data comes from a product or quotient with moments that the graph computes.

    Then these are the gamma and beta of a normalization written out, in whatever way, and no BatchNorm.
    """
    node = _before_views(scope, tensor)
    if node is None or node.op not in ("Mul", "Div"):
        return False
    waiting, seen = list(node.inputs), set(node.inputs)
    while waiting:
        source = scope.graph.producer(waiting.pop())
        if source is not None and source.op in MOMENTS and not source.domain:
            return True
        if source is not None and source.op in ELEMENTWISE and len(seen) < MAX_STEPS:
            fresh = [name for name in source.inputs if name and name not in seen]
            seen.update(fresh)
            waiting += fresh
    return False


def _before_views(scope: GraphScope, tensor: str) -> Node | None:
    """What a tensor comes from, under whatever sizes."""
    node = scope.graph.producer(tensor)
    for _ in range(MAX_VIEWS):
        if node is None or node.op not in RESHAPES:
            break
        node = scope.graph.producer(node.input(0))
    return node


def _link(scope: GraphScope, node: Node, free: set[int]) -> Link | None:
    """A node as a link; None where it is none."""
    if node.op not in OPERATORS or node.domain or node.index not in free or not node.outputs or not node.outputs[0]:
        return None
    try:
        return _negative(scope, node) if node.op == "Neg" else _binary(scope, node)
    except (Unclear, ValueError):  # ValueError: more dimensions than numpy has
        return None


def _negative(scope: GraphScope, node: Node) -> Link | None:
    rank = scope.book.rank(node.input(0))
    if rank is None or not scope.is_float(node.inputs[0]) or scope.store.is_constant(node.inputs[0]):
        return None
    return Link(node.inputs[0], node.outputs[0], node.op, np.full((1,) * rank, -1.0), np.zeros((1,) * rank))


def _binary(scope: GraphScope, node: Node) -> Link | None:
    fixed = [scope.store.is_constant(name) for name in node.inputs]
    if len(fixed) != 2 or fixed[0] == fixed[1] or (node.op == "Div" and fixed[0]):
        return None
    constant, data = node.inputs if fixed[0] else node.inputs[::-1]
    sizes = scope.book.of(data)
    values = _values(scope, constant, sizes) if sizes is not None and scope.is_float(data) else None
    if values is None:
        return None
    pair = _affine(node.op, values, first=fixed[0])
    if pair is None:
        return None
    return Link(data, node.outputs[0], node.op, *pair, scope.store.obstacle(constant))


def _values(scope: GraphScope, constant: str, sizes: Sizes) -> Array | None:
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
