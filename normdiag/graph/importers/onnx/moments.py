"""Find decomposed normalization: one pass that says of each tensor what it is in terms of moments (see terms.py).

Because the algebra is followed instead of a picture of the graph, operands may come in any order, the variance may be
E[(x - m)^2] or E[x^2] - m^2, the root a Div, a Reciprocal or a Pow, and gamma may come in anywhere. What is not
understood has no term. A normalization needs a mean (not only a sum) and an eps: L2 normalization has neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from normdiag.graph.importers.onnx.constants import Constants
from normdiag.graph.importers.onnx.layout import UNKNOWN, Layouts
from normdiag.graph.importers.onnx.nodes import PASSING, Graph, Node, shortest
from normdiag.graph.importers.onnx.regroup import regroup
from normdiag.graph.recognise.affine import fits
from normdiag.graph.recognise.terms import Centered, Moment, Normal, Product, Span, Squared, Term

# The longest known form has 24; a chain of casts may go on for ever.
MAX_NODES = 64


@dataclass(frozen=True, eq=False)
class Algebra:
    """The graph, what is constant in it, and the terms found so far."""

    graph: Graph
    constants: Constants
    layouts: Layouts
    terms: dict[str, Term]

    def span(self, tensor: str, axes: tuple[int, ...]) -> Span:
        """The span of `axes` of a tensor, counted from 0 if its rank is known."""
        rank = self.layouts.get(tensor, UNKNOWN).rank
        counted = axes if rank is None else (a % rank if rank else a for a in axes)
        return Span(self.graph.root(tensor), tuple(sorted(counted)))

    def is_x(self, tensor: str, span: Span) -> bool:
        """Whether a tensor is the one that the span is of."""
        return self.graph.root(tensor) == span.x


def find_normals(graph: Graph, constants: Constants, layouts: Layouts) -> tuple[tuple[Normal, ...], Mapping[str, Term]]:
    """The decomposed normalizations of a graph, as far as they extend, and all terms by tensor name."""
    algebra = Algebra(graph, constants, layouts, {})
    for node in graph.nodes:
        rule = _RULES.get(node.op)
        if rule is None or node.domain or not node.inputs or not node.outputs or constants.is_constant(node.outputs[0]):
            continue
        term = rule(algebra, node)
        if term is not None and len(term.nodes) < MAX_NODES:
            algebra.terms[node.outputs[0]] = replace(term, nodes=term.nodes | {node.index})
    longest: dict[int, Normal] = {}
    for term in algebra.terms.values():
        if isinstance(term, Normal) and not term.closed:
            longest[term.core] = max(longest.get(term.core, term), term, key=lambda normal: normal.stage)
    return tuple(longest[core] for core in sorted(longest)), algebra.terms


def _mean(algebra: Algebra, node: Node) -> Term | None:
    """ReduceMean, ReduceSum and ReduceSumSquare."""
    axes = node.integers("axes") or algebra.constants.integers(node.input(1))
    if not axes or algebra.constants.is_constant(node.inputs[0]):
        return None
    inner = algebra.terms.get(node.inputs[0])
    if node.op == "ReduceSumSquare":
        inner = _square(algebra, node.inputs[0])
    kept, total = node.integer("keepdims", 1) != 0, node.op != "ReduceMean"
    if not isinstance(inner, Squared):
        span = algebra.span(node.inputs[0], axes)
        return Moment("mean", span, frozenset(), node.inputs[0], kept, total)
    span = algebra.span(inner.tensor, axes)
    if inner.axes is not None and inner.axes != span.axes:
        return None
    kind = "square" if inner.axes is None else "variance"
    return Moment(kind, Span(inner.x, span.axes), inner.nodes, inner.tensor, kept, total)  # type: ignore[arg-type]


def _square(algebra: Algebra, tensor: str) -> Term | None:
    """The square of a tensor."""
    term = algebra.terms.get(tensor)
    if isinstance(term, Centered) and term.gamma is None:
        return Squared(term.span.x, term.span.axes, term.nodes, term.tensor)
    if isinstance(term, Moment) and term.kind == "mean" and term.power == 1.0 and not term.total:
        return replace(term, power=2.0)
    if isinstance(term, Moment | Squared) or algebra.constants.is_constant(tensor):
        return None
    return Squared(algebra.graph.root(tensor), None, frozenset(), tensor)


def _pow(algebra: Algebra, node: Node) -> Term | None:
    exponent = algebra.constants.scalar(node.input(1))
    if exponent == 2.0:
        return _square(algebra, node.inputs[0])
    return _powered(algebra, node, exponent) if exponent in (0.5, -0.5) else None


def _powered(algebra: Algebra, node: Node, exponent: float | None) -> Term | None:
    term = algebra.terms.get(node.inputs[0])
    if exponent is None or not isinstance(term, Moment) or term.kind == "mean" or term.total or term.gamma is not None:
        return None
    return replace(term, power=term.power * exponent)


def _sqrt(algebra: Algebra, node: Node) -> Term | None:
    return _powered(algebra, node, 0.5)


def _reciprocal(algebra: Algebra, node: Node) -> Term | None:
    return _powered(algebra, node, -1.0)


def _sub(algebra: Algebra, node: Node) -> Term | None:
    left, right = algebra.terms.get(node.inputs[0]), algebra.terms.get(node.input(1))
    if isinstance(right, Moment) and right.kind == "mean" and not right.total:
        if right.power == 1.0 and right.kept and algebra.is_x(node.inputs[0], right.span):
            return Centered(right.span, right.nodes, right.tensor)
        if right.power == 2.0 and isinstance(left, Moment) and _raw(left) and left.span == right.span:
            return replace(left, kind="variance", nodes=left.nodes | right.nodes) if left.kept == right.kept else None
    if isinstance(right, Product) and right.of == "mean":
        if algebra.constants.is_constant(node.inputs[0]):
            return replace(right, of="offset", beta=node.inputs[0])
        if isinstance(left, Product) and left.of == "x" and left.scale.key == right.scale.key:
            return _normal(node, left.scale, left.tensor, left.nodes | right.nodes, right.beta)
    return None


def _raw(term: Moment) -> bool:
    return term.kind == "square" and term.power == 1.0 and not term.eps and not term.total


def _add(algebra: Algebra, node: Node) -> Term | None:
    for a, b in _orders(node):
        term, other = algebra.terms.get(a), algebra.terms.get(b)
        if isinstance(term, Moment) and term.kind != "mean" and (term.power, term.eps) == (1.0, 0.0) and not term.total:
            eps = algebra.constants.scalar(b)
            return replace(term, eps=shortest(eps)) if eps is not None and 0.0 < eps < 1.0 else None
        if isinstance(term, Product) and isinstance(other, Product) and (term.of, other.of) == ("x", "offset"):
            same = term.scale.key == other.scale.key
            return _normal(node, term.scale, term.tensor, term.nodes | other.nodes, other.beta) if same else None
        if isinstance(term, Normal) and term.beta is None and _extends(algebra, term, a, b):
            return replace(term, beta=b, output=node.outputs[0])
    return None


def _mul(algebra: Algebra, node: Node) -> Term | None:
    if algebra.graph.root(node.inputs[0]) == algebra.graph.root(node.input(1)):
        return _square(algebra, node.inputs[0])
    for a, b in _orders(node):
        term = algebra.terms.get(a)
        if isinstance(term, Moment) and term.total:
            return _averaged(algebra, term, algebra.constants.scalar(b))
        if isinstance(term, Moment) and term.power == -0.5 and term.kept and term.eps:
            return _scaled(algebra, node, term, b)
        found = _weighted(algebra, node, a, b) if algebra.constants.is_constant(b) else None
        if found is not None:
            return found
    return None


def _weighted(algebra: Algebra, node: Node, tensor: str, constant: str) -> Term | None:
    """A centered or normalized tensor times gamma."""
    term = algebra.terms.get(tensor)
    if isinstance(term, Centered) and term.gamma is None and algebra.constants.scalar(constant) is None:
        return replace(term, gamma=constant)
    if isinstance(term, Normal) and term.gamma is None and term.beta is None:
        extended = replace(term, gamma=constant, output=node.outputs[0])
        return extended if _extends(algebra, term, tensor, constant) else None
    return None


def _scaled(algebra: Algebra, node: Node, rstd: Moment, other: str) -> Term | None:
    """1/sqrt(moment + eps) times something."""
    term = algebra.terms.get(other)
    if algebra.constants.is_constant(other):
        return replace(rstd, gamma=other) if rstd.gamma is None else None
    if rstd.kind == "square":
        return _normal(node, rstd, other, rstd.nodes) if algebra.is_x(other, rstd.span) else None
    if isinstance(term, Centered) and term.span == rstd.span and (term.gamma is None or rstd.gamma is None):
        gamma = term.gamma or rstd.gamma
        return _normal(node, replace(rstd, gamma=gamma), term.tensor, term.nodes | rstd.nodes)
    if isinstance(term, Moment) and term.kind == "mean" and term.span == rstd.span and term.power == 1.0 and term.kept:
        return Product("mean", rstd, term.nodes | rstd.nodes, term.tensor)
    return Product("x", rstd, rstd.nodes, other) if algebra.is_x(other, rstd.span) else None


def _div(algebra: Algebra, node: Node) -> Term | None:
    left, right = algebra.terms.get(node.inputs[0]), algebra.terms.get(node.input(1))
    if isinstance(left, Moment) and left.total:
        count = algebra.constants.scalar(node.input(1))
        return _averaged(algebra, left, 1.0 / count if count else None)
    if not isinstance(right, Moment) or right.power != 0.5 or not right.kept or not right.eps:
        return None
    rstd = replace(right, power=-0.5)
    if algebra.constants.scalar(node.inputs[0]) == 1.0:
        return rstd
    return _scaled(algebra, node, rstd, node.inputs[0])


def _averaged(algebra: Algebra, term: Moment, factor: float | None) -> Term | None:
    """A sum times 1/n is a mean where n is the number of elements, as far as that is known."""
    if factor is None or not 1e-12 < factor <= 1.0:
        return None
    count = 1.0 / factor
    shape = algebra.layouts.get(term.tensor, UNKNOWN).shape
    sizes = [shape[a] for a in term.span.axes] if shape and max(term.span.axes) < len(shape) else [None]
    known = 1
    for size in sizes:
        known = known * size if known and size else 0
    right = abs(count - known) < 1e-3 * count if known else abs(count - round(count)) < 1e-3 * count
    return replace(term, total=False) if right else None


def _normal(node: Node, scale: Moment, tensor: str, nodes: frozenset[int], beta: str | None = None) -> Normal:
    centered = scale.kind == "variance"
    return Normal(tensor, scale.span, centered, scale.eps, node.outputs[0], node.index, nodes, scale.gamma, beta)


def _extends(algebra: Algebra, term: Normal, tensor: str, constant: str) -> bool:
    """Whether a constant is the gamma or beta of a normalized tensor that nobody else reads."""
    rank = algebra.layouts.get(term.tensor, UNKNOWN).rank
    return (
        not term.closed
        and algebra.graph.used_once(tensor)
        and algebra.constants.is_constant(constant)
        and fits(algebra.constants.array(constant), term, rank)
    )


def _max(algebra: Algebra, node: Node) -> Term | None:
    """max(0, variance), against rounding."""
    for a, b in _orders(node):
        term = algebra.terms.get(a)
        if isinstance(term, Moment) and term.kind != "mean" and algebra.constants.scalar(b) == 0.0:
            return term
    return None


def _broadcast(algebra: Algebra, node: Node) -> Term | None:
    """A statistic brought back to the rank of x, or the reshape behind a GroupNorm's inner normalization."""
    term = algebra.terms.get(node.inputs[0])
    if isinstance(term, Moment):
        return replace(term, kept=True)
    if isinstance(term, Normal) and node.op == "Reshape" and algebra.graph.used_once(node.inputs[0]):
        return regroup(term, node, algebra.graph, algebra.constants, algebra.layouts)
    return None


def _pass(algebra: Algebra, node: Node) -> Term | None:
    term = algebra.terms.get(node.inputs[0])
    if isinstance(term, Normal) and not algebra.graph.used_once(node.inputs[0]):
        return None
    return term if isinstance(term, Moment | Centered | Normal) else None


def _instance(algebra: Algebra, node: Node) -> Term | None:
    """An InstanceNormalization without affine parameters may be the inside of a GroupNorm."""
    rank = algebra.layouts.get(node.inputs[0], UNKNOWN).rank
    scale, bias = algebra.constants.array(node.input(1)), algebra.constants.array(node.input(2))
    if rank is None or rank < 3 or scale is None or bias is None or (scale != 1).any() or (bias != 0).any():
        return None
    span = algebra.span(node.inputs[0], tuple(range(2, rank)))
    eps = node.number("epsilon", 1e-5)
    return Normal(node.inputs[0], span, True, eps, node.outputs[0], node.index, frozenset(), closed=True)


def _orders(node: Node) -> tuple[tuple[str, str], tuple[str, str]]:
    a, b = node.inputs[0], node.input(1)
    return (a, b), (b, a)


_RULES: Mapping[str, Callable[[Algebra, Node], Term | None]] = {
    "ReduceMean": _mean,
    "ReduceSum": _mean,
    "ReduceSumSquare": _mean,
    "Pow": _pow,
    "Sqrt": _sqrt,
    "Reciprocal": _reciprocal,
    "Sub": _sub,
    "Add": _add,
    "Mul": _mul,
    "Div": _div,
    "Max": _max,
    "InstanceNormalization": _instance,
    **dict.fromkeys(("Reshape", "Unsqueeze", "Expand"), _broadcast),
    **dict.fromkeys(PASSING, _pass),
}
