"""Find decomposed normalization: one pass that says of each tensor what it is in terms of moments (see terms.py).

Because the algebra is followed instead of a picture of the graph, operands may come in any order, the variance may be
E[(x - m)^2] or E[x^2] - m^2, the root a Div, a Reciprocal or a Pow, and gamma may come in anywhere. What is not
understood has no term. A normalization needs a mean (not only a sum) and an eps: L2 normalization has neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from normdiag.graph.numbers import shortest
from normdiag.graph.recognise.affine import fits
from normdiag.graph.recognise.regroup import regroup
from normdiag.graph.recognise.steps import Operand, Step, Tensors
from normdiag.graph.recognise.terms import AveragedAxes, Centered, Moment, Normal, Product, Squared, Term

# The longest known form has 24; a chain of casts may go on for ever.
MAX_NODES = 64


@dataclass(frozen=True, eq=False)
class Algebra:
    """What is known of the tensors, and the terms found so far."""

    tensors: Tensors
    terms: dict[str, Term]

    def term(self, operand: Operand) -> Term | None:
        """What a tensor is."""
        return self.terms.get(operand) if isinstance(operand, str) else None

    def span(self, tensor: str, axes: tuple[int, ...]) -> AveragedAxes:
        """The span of `axes` of a tensor, counted from 0 if its rank is known."""
        rank = self.tensors.rank(tensor)
        counted = axes if rank is None else (a % rank if rank else a for a in axes)
        return AveragedAxes(self.tensors.root(tensor), tuple(sorted(counted)))

    def is_x(self, operand: Operand, span: AveragedAxes) -> bool:
        """Whether a tensor is the one that the span is of."""
        return self.tensors.root(operand) == span.x


def find_normals(steps: Iterable[Step], tensors: Tensors) -> tuple[tuple[Normal, ...], Mapping[str, Term]]:
    """The normalizations that a graph spells out, as far as they extend, and all terms by tensor name."""
    algebra = Algebra(tensors, {})
    for step in steps:
        rule = _RULES.get(step.kind)
        if rule is None or not step.inputs or tensors.is_constant(step.output):
            continue
        term = rule(algebra, step)
        if term is not None and len(term.nodes) < MAX_NODES:
            algebra.terms[step.output] = replace(term, nodes=term.nodes | {step.place})
    longest: dict[int, Normal] = {}
    for term in algebra.terms.values():
        if isinstance(term, Normal) and not term.closed:
            longest[term.core] = max(longest.get(term.core, term), term, key=lambda normal: normal.stage)
    return tuple(longest[core] for core in sorted(longest)), algebra.terms


def _mean(algebra: Algebra, step: Step) -> Term | None:
    """Of x, of x^2 or of (x - E[x])^2: the mean, or a sum that is still to be divided."""
    tensor = step.inputs[0]
    if not step.axes or not isinstance(tensor, str) or algebra.tensors.is_constant(tensor):
        return None
    inner = _square(algebra, tensor) if step.kind == "sum_square" else algebra.term(tensor)
    kept, total = step.kept, step.kind != "mean"
    if not isinstance(inner, Squared):
        return Moment("mean", algebra.span(tensor, step.axes), frozenset(), tensor, kept, total)
    span = algebra.span(inner.tensor, step.axes)
    if inner.axes is not None and inner.axes != span.axes:
        return None
    kind = "square" if inner.axes is None else "variance"
    return Moment(kind, AveragedAxes(inner.x, span.axes), inner.nodes, inner.tensor, kept, total)  # type: ignore[arg-type]


def _variance(algebra: Algebra, step: Step) -> Term | None:
    """E[(x - E[x])^2] by one function."""
    tensor = step.inputs[0]
    if not step.axes or not isinstance(tensor, str) or algebra.tensors.is_constant(tensor):
        return None
    return Moment("variance", algebra.span(tensor, step.axes), frozenset(), tensor, step.kept)


def _square(algebra: Algebra, tensor: Operand) -> Term | None:
    """The square of a tensor."""
    term = algebra.term(tensor)
    if isinstance(term, Centered) and term.gamma is None:
        return Squared(term.span.x, term.span.axes, term.nodes, term.tensor)
    if isinstance(term, Moment) and term.kind == "mean" and term.power == 1.0 and not term.total:
        return replace(term, power=2.0)
    if not isinstance(tensor, str) or isinstance(term, Moment | Squared) or algebra.tensors.is_constant(tensor):
        return None
    return Squared(algebra.tensors.root(tensor), None, frozenset(), tensor)


def _pow(algebra: Algebra, step: Step) -> Term | None:
    exponent = algebra.tensors.scalar(step.inputs[1])
    if exponent == 2.0:
        return _square(algebra, step.inputs[0])
    return _powered(algebra, step, exponent) if exponent in (0.5, -0.5) else None


def _powered(algebra: Algebra, step: Step, exponent: float | None) -> Term | None:
    term = algebra.term(step.inputs[0])
    if exponent is None or not isinstance(term, Moment) or term.kind == "mean" or term.total or term.gamma is not None:
        return None
    return replace(term, power=term.power * exponent)


def _sub(algebra: Algebra, step: Step) -> Term | None:
    left, right = algebra.term(step.inputs[0]), algebra.term(step.inputs[1])
    if isinstance(right, Moment) and right.kind == "mean" and not right.total:
        if right.power == 1.0 and right.kept and algebra.is_x(step.inputs[0], right.span):
            return Centered(right.span, right.nodes, right.tensor)
        if right.power == 2.0 and isinstance(left, Moment) and _raw(left) and left.span == right.span:
            return replace(left, kind="variance", nodes=left.nodes | right.nodes) if left.kept == right.kept else None
    if isinstance(right, Product) and right.of == "mean":
        first = step.inputs[0]
        if algebra.tensors.is_constant(first):
            return replace(right, of="offset", beta=first) if isinstance(first, str) else None
        if isinstance(left, Product) and left.of == "x" and left.scale.key == right.scale.key:
            return _normal(step, left.scale, left.tensor, left.nodes | right.nodes, right.beta)
    return None


def _raw(term: Moment) -> bool:
    return term.kind == "square" and term.power == 1.0 and not term.eps and not term.total


def _add(algebra: Algebra, step: Step) -> Term | None:
    for a, b in _orders(step):
        term, other = algebra.term(a), algebra.term(b)
        if isinstance(term, Moment) and term.kind != "mean" and (term.power, term.eps) == (1.0, 0.0) and not term.total:
            eps = algebra.tensors.scalar(b)
            return replace(term, eps=shortest(eps)) if eps is not None and 0.0 < eps < 1.0 else None
        if isinstance(term, Product) and isinstance(other, Product) and (term.of, other.of) == ("x", "offset"):
            same = term.scale.key == other.scale.key
            return _normal(step, term.scale, term.tensor, term.nodes | other.nodes, other.beta) if same else None
        if isinstance(term, Normal) and term.beta is None and isinstance(b, str) and _extends(algebra, term, a, b):
            return replace(term, beta=b, output=step.output)
    return None


def _mul(algebra: Algebra, step: Step) -> Term | None:
    if algebra.tensors.root(step.inputs[0]) == algebra.tensors.root(step.inputs[1]):
        return _square(algebra, step.inputs[0])
    for a, b in _orders(step):
        term = algebra.term(a)
        if isinstance(term, Moment) and term.total:
            return _averaged(algebra, term, algebra.tensors.scalar(b))
        if isinstance(term, Moment) and term.power == -0.5 and term.kept and term.eps:
            return _scaled(algebra, step, term, b)
        known = isinstance(b, str) and algebra.tensors.is_constant(b)
        found = _weighted(algebra, step, a, str(b)) if known else None
        if found is not None:
            return found
    return None


def _weighted(algebra: Algebra, step: Step, tensor: Operand, constant: str) -> Term | None:
    """A centered or normalized tensor times gamma."""
    term = algebra.term(tensor)
    if isinstance(term, Centered) and term.gamma is None and algebra.tensors.scalar(constant) is None:
        return replace(term, gamma=constant)
    if isinstance(term, Normal) and term.gamma is None and term.beta is None:
        extended = replace(term, gamma=constant, output=step.output)
        return extended if _extends(algebra, term, tensor, constant) else None
    return None


def _scaled(algebra: Algebra, step: Step, rstd: Moment, other: Operand) -> Term | None:
    """1/sqrt(moment + eps) times something."""
    term = algebra.term(other)
    if not isinstance(other, str):
        return None
    if algebra.tensors.is_constant(other):
        return replace(rstd, gamma=other) if rstd.gamma is None else None
    if rstd.kind == "square":
        return _normal(step, rstd, other, rstd.nodes) if algebra.is_x(other, rstd.span) else None
    if isinstance(term, Centered) and term.span == rstd.span and (term.gamma is None or rstd.gamma is None):
        gamma = term.gamma or rstd.gamma
        return _normal(step, replace(rstd, gamma=gamma), term.tensor, term.nodes | rstd.nodes)
    if isinstance(term, Moment) and term.kind == "mean" and term.span == rstd.span and term.power == 1.0 and term.kept:
        return Product("mean", rstd, term.nodes | rstd.nodes, term.tensor)
    return Product("x", rstd, rstd.nodes, other) if algebra.is_x(other, rstd.span) else None


def _div(algebra: Algebra, step: Step) -> Term | None:
    left, right = algebra.term(step.inputs[0]), algebra.term(step.inputs[1])
    if isinstance(left, Moment) and left.total:
        count = algebra.tensors.scalar(step.inputs[1])
        return _averaged(algebra, left, 1.0 / count if count else None)
    if not isinstance(right, Moment) or right.power != 0.5 or not right.kept or not right.eps:
        return None
    rstd = replace(right, power=-0.5)
    if algebra.tensors.scalar(step.inputs[0]) == 1.0:
        return rstd
    return _scaled(algebra, step, rstd, step.inputs[0])


def _averaged(algebra: Algebra, term: Moment, factor: float | None) -> Term | None:
    """A sum times 1/n is a mean where n is the number of elements, as far as that is known."""
    if factor is None or not 1e-12 < factor <= 1.0:
        return None
    count = 1.0 / factor
    shape = algebra.tensors.shape(term.tensor)
    sizes = [shape[a] for a in term.span.axes] if shape and max(term.span.axes) < len(shape) else [None]
    known = 1
    for size in sizes:
        known = known * size if known and size else 0
    right = abs(count - known) < 1e-3 * count if known else abs(count - round(count)) < 1e-3 * count
    return replace(term, total=False) if right else None


def _normal(step: Step, scale: Moment, tensor: str, nodes: frozenset[int], beta: str | None = None) -> Normal:
    centered = scale.kind == "variance"
    return Normal(tensor, scale.span, centered, scale.eps, step.output, step.place, nodes, scale.gamma, beta)


def _extends(algebra: Algebra, term: Normal, tensor: Operand, constant: str) -> bool:
    """Whether a constant is the gamma or beta of a normalized tensor that nobody else reads."""
    rank = algebra.tensors.rank(term.tensor)
    return (
        not term.closed
        and algebra.tensors.used_once(tensor)
        and algebra.tensors.is_constant(constant)
        and fits(algebra.tensors.array(constant), term, rank)
    )


def _max(algebra: Algebra, step: Step) -> Term | None:
    """max(0, variance), against rounding."""
    for a, b in _orders(step):
        term = algebra.term(a)
        if isinstance(term, Moment) and term.kind != "mean" and algebra.tensors.scalar(b) == 0.0:
            return term
    return None


def _broadcast(algebra: Algebra, step: Step) -> Term | None:
    """A statistic brought back to the rank of x, or the reshape after a GroupNorm's inner normalization."""
    term = algebra.term(step.inputs[0])
    if isinstance(term, Moment):
        return replace(term, kept=True)
    if isinstance(term, Normal) and step.kind == "reshape" and algebra.tensors.used_once(step.inputs[0]):
        return regroup(term, step, algebra.tensors)
    return None


def _pass(algebra: Algebra, step: Step) -> Term | None:
    term = algebra.term(step.inputs[0])
    if isinstance(term, Normal) and not algebra.tensors.used_once(step.inputs[0]):
        return None
    return term if isinstance(term, Moment | Centered | Normal) else None


def _instance(algebra: Algebra, step: Step) -> Term | None:
    """An instance norm without affine parameters may be the inside of a GroupNorm."""
    tensor, scale, shift = step.inputs[0], *(algebra.tensors.array(each) for each in step.inputs[1:3])
    rank = algebra.tensors.rank(tensor)
    if not isinstance(tensor, str) or rank is None or rank < 3 or scale is None or shift is None:
        return None
    if (scale != 1).any() or (shift != 0).any():
        return None
    span = algebra.span(tensor, tuple(range(2, rank)))
    return Normal(tensor, span, True, step.eps, step.output, step.place, frozenset(), closed=True)


def _orders(step: Step) -> tuple[tuple[Operand, Operand], tuple[Operand, Operand]]:
    a, b = step.inputs[:2]
    return (a, b), (b, a)


_RULES: Mapping[str, Callable[[Algebra, Step], Term | None]] = {
    **dict.fromkeys(("mean", "sum", "sum_square"), _mean),
    "variance": _variance,
    "square": lambda algebra, step: _square(algebra, step.inputs[0]),
    "pow": _pow,
    "sqrt": lambda algebra, step: _powered(algebra, step, 0.5),
    "rsqrt": lambda algebra, step: _powered(algebra, step, -0.5),
    "reciprocal": lambda algebra, step: _powered(algebra, step, -1.0),
    "sub": _sub,
    "add": _add,
    "mul": _mul,
    "div": _div,
    "max": _max,
    "instance_norm": _instance,
    **dict.fromkeys(("reshape", "broadcast"), _broadcast),
    "pass": _pass,
}
