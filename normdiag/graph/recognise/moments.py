"""The statistics of a tensor in a graph: means, mean squares and variances, their roots, and the eps in them.

The variance may be E[(x - m)^2] or E[x^2] - m^2, in one step or several; the root a Sqrt, a Reciprocal or a Pow; the
eps inside the root, outside of it, or a lower bound.
"""

from __future__ import annotations

from dataclasses import replace

from normdiag.graph.numbers import shortest
from normdiag.graph.recognise.algebra import Algebra, is_close
from normdiag.graph.recognise.steps import Operand, Step
from normdiag.graph.recognise.terms import (
    AveragedAxes,
    Combination,
    ElementsLessOne,
    Moment,
    Squared,
    Term,
)
from normdiag.graph.sizes import product
from normdiag.records import Size

ROOTS = (0.5, -0.5, -1.0)
# No norm has more elements, and no factor that belongs to one is larger.
MOST = 1e12


def reduced(algebra: Algebra, step: Step) -> Term | None:
    """A mean or sum of x, of x^2 or of (x - E[x])^2; a root of one; a variance in one step."""
    tensor = step.inputs[0]
    if not step.axes or not isinstance(tensor, str) or algebra.tensors.is_constant(tensor):
        return None
    if step.kind in ("variance", "deviation"):
        span, power = algebra.span(tensor, step.axes), 1.0 if step.kind == "variance" else 0.5
        return Moment(
            "variance",
            span,
            frozenset(),
            tensor,
            step.kept,
            power=power,
            centre=span.axes,
            unbiased=step.unbiased,
        )
    squared = step.kind in ("sum_square", "norm")
    found = None if squared else _averaged_again(algebra, step, tensor)
    if found is None:
        found = _averaged(algebra, step, squared_of(algebra, tensor) if squared else algebra.term(tensor))
    return replace(found, power=0.5) if found is not None and step.kind == "norm" else found


def _averaged(algebra: Algebra, step: Step, inner: Term | None) -> Moment | None:
    tensor = str(step.inputs[0])
    if isinstance(inner, Moment) and (inner.kind, inner.power) == ("mean", 2.0):
        inner = _square_of_a_mean(algebra, tensor)
    total, factor = _divisor(algebra, step, tensor)
    if not isinstance(inner, Squared):
        span = algebra.span(tensor, step.axes)
        return Moment("mean", span, frozenset(), tensor, step.kept, total, factor)
    span = algebra.span(inner.tensor, step.axes)
    if inner.axes is None:
        return Moment("square", span, inner.nodes, inner.tensor, step.kept, total, factor)
    if not set(span.axes) <= set(inner.axes) or span.x != inner.x:
        return None
    return Moment("variance", span, inner.nodes, inner.tensor, step.kept, total, factor, centre=inner.axes)


def _divisor(algebra: Algebra, step: Step, tensor: str) -> tuple[bool, float]:
    """Whether it is a sum over an unknown number of elements, and how many times the mean it is."""
    if step.kind == "mean":
        return False, 1.0
    count = algebra.count(tensor, step.axes)
    return (True, 1.0) if not count or count > MOST else (False, float(count))


def _square_of_a_mean(algebra: Algebra, tensor: str) -> Squared | None:
    """The square of a tensor that is itself a mean, and is normalized: pooled features."""
    step = algebra.tensors.maker(tensor)
    pooled = step.inputs[0] if step is not None else ""
    return Squared(algebra.tensors.root(pooled), None, frozenset(), str(pooled)) if pooled else None


def _averaged_again(algebra: Algebra, step: Step, tensor: str) -> Moment | None:
    """A mean over further axes of what was averaged over some, and is read here alone: mean(1).mean(2)."""
    inner, tensors = algebra.term(tensor), algebra.tensors
    if not isinstance(inner, Moment) or not inner.is_plain or not tensors.used_once(tensor) or step.kind != "mean":
        return None
    rank, before = tensors.rank(tensor), tensors.rank(inner.tensor)
    if rank is None or before is None or inner.kept != (rank == before):
        return None
    first = _own_axes(algebra, inner, before)
    left = [axis for axis in range(before) if inner.kept or axis not in first]
    if len(left) != rank:
        return None
    further = algebra.span(inner.tensor, tuple(left[axis % rank] for axis in step.axes))
    if further.x != inner.span.x or set(further.axes) & set(inner.span.axes):
        return None
    axes = tuple(sorted((*inner.span.axes, *further.axes)))
    if inner.kind == "variance" and not set(axes) <= set(inner.centre):
        return None
    return replace(inner, span=AveragedAxes(inner.span.x, axes), kept=inner.kept and step.kept)


def _own_axes(algebra: Algebra, inner: Moment, rank: int) -> tuple[int, ...]:
    """The axes of a moment where it was taken of the tensor itself, all where it was not."""
    same = algebra.tensors.root(inner.tensor) == inner.span.x
    return inner.span.axes if same else tuple(range(rank))


def squared_of(algebra: Algebra, operand: Operand) -> Term | None:
    """The square of a tensor."""
    term = algebra.term(operand)
    if isinstance(term, Combination) and term.is_centred and term.mean is not None:
        return Squared(term.mean.x, term.mean.axes, term.nodes, term.tensor)
    if isinstance(term, Moment) and term.kind == "mean" and term.is_plain and is_close(term.factor):
        return replace(term, power=2.0)
    if not isinstance(operand, str) or isinstance(term, Squared) or algebra.tensors.is_constant(operand):
        return None
    return Squared(algebra.tensors.root(operand), None, frozenset(), operand)


def raised(algebra: Algebra, step: Step, exponent: float | None) -> Term | None:
    """A power of a tensor."""
    if exponent == 2.0:
        return squared_of(algebra, step.inputs[0])
    term = algebra.term(step.inputs[0])
    if exponent is None or not isinstance(term, Moment) or term.kind == "mean" or term.gamma is not None:
        return None
    power = term.power * exponent
    inverse = exponent == -1.0 and term.power == 0.5
    return replace(term, power=power) if power in ROOTS and (inverse or not term.outside) else None


def less_squared_mean(left: Term | None, right: Term | None) -> Moment | None:
    """E[x^2] - E[x]^2."""
    if not isinstance(left, Moment) or not isinstance(right, Moment):
        return None
    plain = left.kind == "square" and left.is_plain and is_close(left.factor)
    if not plain or (right.kind, right.power) != ("mean", 2.0) or left.span != right.span or left.kept != right.kept:
        return None
    return replace(left, kind="variance", nodes=left.nodes | right.nodes, factor=1.0, centre=left.span.axes)


def with_eps(term: Moment, eps: float | None) -> Moment | None:
    """A small number added to it, or to its root."""
    if eps is None or not 0.0 < eps < 1.0 or term.kind == "mean" or term.gamma or term.counted:
        return None
    if term.power == 1.0 and not term.eps:
        return replace(term, eps=shortest(eps))
    return replace(term, outside=shortest(eps)) if term.power == 0.5 and not term.outside else None


def floored(algebra: Algebra, step: Step, bound: float | None) -> Term | None:
    """max(moment, bound): 0 against rounding, or a lower bound in place of an eps."""
    term = algebra.term(step.inputs[0])
    if not isinstance(term, Moment) or term.kind == "mean" or bound is None:
        return None
    if bound == 0.0:
        return term
    guarded = with_eps(term, bound)
    return None if guarded is None or term.eps or term.outside else replace(guarded, floored=True)


def scaled(algebra: Algebra, term: Moment, number: float) -> Moment | None:
    """A moment, or its root, times a positive number: a sum times 1/n is a mean."""
    if number == 1.0:
        return term
    if not 1.0 / MOST < number < MOST or term.gamma is not None or term.counted or term.power == 2.0:
        return None
    times = number ** (1.0 / term.power)
    factor, root = term.factor * times, times**0.5
    if not 1.0 / MOST < factor < MOST:
        return None
    if term.total:
        whole = 1.0 / factor if factor else 0.0
        is_count = 1.5 < whole < 1e12 and abs(whole - round(whole)) < 1e-3 * whole
        return replace(term, total=False, factor=1.0, eps=term.eps * times) if is_count else None
    unbiased, count = term.unbiased, _number_of_elements(algebra, term)
    if term.kind == "variance" and count is not None and count > 1:
        bias = count / (count - 1)
        if not unbiased and abs(factor - bias) < 1e-5 * bias:
            factor, unbiased = 1.0, True
        elif unbiased and abs(factor * bias - 1.0) < 1e-5:
            factor, unbiased = 1.0, False
    return replace(term, factor=factor, unbiased=unbiased, eps=term.eps * times, outside=term.outside * root)


def times_count(algebra: Algebra, term: Moment, operand: Operand) -> Moment | None:
    """A mean times the number of its elements, where that is computed by the graph."""
    if not term.is_plain or algebra.tensors.count(operand) != _elements(algebra, term):
        return None
    return replace(term, counted=True)


def over_count(algebra: Algebra, term: Moment, operand: Operand) -> Moment | None:
    """A sum over the number of its elements, or over one less after it was multiplied by it: the unbiased variance."""
    elements, divisor = _elements(algebra, term), algebra.term(operand)
    if elements is None:
        return None
    if term.total and algebra.tensors.count(operand) == elements:
        return replace(term, total=False)
    if not isinstance(divisor, ElementsLessOne) or divisor.count != elements or term.kind != "variance":
        return None
    summed = term.counted or term.total
    return replace(term, total=False, counted=False, unbiased=True) if summed else None


def _elements(algebra: Algebra, term: Moment) -> Size | None:
    sizes = algebra.tensors.sizes(term.span.x)
    if sizes is None or max(term.span.axes) >= len(sizes) or min(term.span.axes) < 0:
        return None
    return product(sizes[axis] for axis in term.span.axes)


def _number_of_elements(algebra: Algebra, term: Moment) -> int | None:
    elements = _elements(algebra, term)
    return algebra.count(term.span.x, term.span.axes) if elements is None else elements.known


def less_one(algebra: Algebra, step: Step) -> ElementsLessOne | None:
    """The number of elements less one."""
    count = algebra.tensors.count(step.inputs[0])
    one = algebra.tensors.scalar(step.inputs[1]) == 1.0
    return ElementsLessOne(count, frozenset()) if one and count is not None else None
