"""Find decomposed normalization: one pass that says of each tensor what it is in terms of moments (see terms.py).

Because the algebra is followed instead of a picture of the graph, operands may come in any order, and gamma and beta
may come in anywhere. What is not understood has no term. A normalization needs something that keeps the divisor from
zero, and a mean, not a sum: an L2 normalization becomes an RMSNorm only where it is multiplied by the root of the
number of its features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from normdiag.graph.recognise.algebra import Algebra, is_close, orders
from normdiag.graph.recognise.combine import completed, extended, joined, shifted, times
from normdiag.graph.recognise.moments import (
    floored,
    less_one,
    less_squared_mean,
    over_count,
    raised,
    reduced,
    scaled,
    squared_of,
    times_count,
    with_eps,
)
from normdiag.graph.recognise.regroup import regroup
from normdiag.graph.recognise.spans import axes_in, line_up
from normdiag.graph.recognise.steps import Operand, Step, Tensors
from normdiag.graph.recognise.terms import AveragedAxes, Combination, Moment, Normal, Squared, Term

# The longest known form has 24; a chain of casts may go on for ever.
MAX_NODES = 64


def find_normals(steps: Iterable[Step], tensors: Tensors) -> tuple[tuple[Normal, ...], Mapping[str, Term]]:
    """The normalizations that a graph spells out, as far as they extend, and all terms by tensor name."""
    algebra, seen = Algebra(tensors), {}
    for step in steps:
        seen[step.place] = step
        rule = _RULES.get(step.kind)
        if rule is None or not step.inputs or tensors.is_constant(step.output):
            continue
        number = algebra.computed(step)
        if number is not None:
            algebra.numbers[step.output] = number
            continue
        term = rule(algebra, step)
        if term is not None and len(term.nodes) < MAX_NODES:
            algebra.terms[step.output] = replace(term, nodes=term.nodes | {step.place})
    longest: dict[int, Normal] = {}
    for term in algebra.terms.values():
        if isinstance(term, Normal) and not term.closed:
            longest[term.core] = max(longest.get(term.core, term), term, key=lambda normal: normal.stage)
    return tuple(_with_reshapes(longest[core], seen, tensors) for core in sorted(longest)), algebra.terms


def _with_reshapes(normal: Normal, steps: Mapping[int, Step], tensors: Tensors) -> Normal:
    """With the reshapes that only its statistics read."""
    nodes = set(normal.nodes)
    waiting = [steps[place] for place in nodes]
    while waiting:
        for operand in waiting.pop().inputs:
            maker = tensors.maker(operand)
            if maker is None or maker.kind not in ("reshape", "pass") or maker.place in nodes:
                continue
            if tensors.root(operand) != tensors.root(normal.tensor) and tensors.read_only_by(operand, nodes):
                nodes.add(maker.place)
                waiting.append(maker)
    return replace(normal, nodes=frozenset(nodes))


def _sub(algebra: Algebra, step: Step) -> Term | None:
    first, second = step.inputs[:2]
    variance = less_squared_mean(algebra.term(first), algebra.term(second)) or less_one(algebra, step)
    if variance is not None:
        return variance
    term, constant = algebra.term(second), algebra.constant(first)
    if constant is not None and isinstance(term, Combination):
        return shifted(times(term, -1.0), constant)
    return _summed(algebra, step, -1.0)


def _add(algebra: Algebra, step: Step) -> Term | None:
    for a, b in orders(step):
        term, number = algebra.term(a), algebra.tensors.scalar(b)
        if isinstance(term, Moment) and term.kind != "mean" and number is not None:
            return with_eps(term, number)
        constant = algebra.constant(b)
        if constant is not None and isinstance(term, Combination):
            return shifted(term, constant)
        if constant is not None and isinstance(term, Normal):
            return extended(algebra, step, term, a, beta=constant)
    return _summed(algebra, step, 1.0)


def _summed(algebra: Algebra, step: Step, sign: float) -> Term | None:
    """The two parts of a normalization, written apart, or a tensor less its mean."""
    a, b = step.inputs[:2]
    for left in algebra.readings(a):
        for right in algebra.readings(b):
            if right.beta is not None and sign < 0.0:
                continue
            found = joined(algebra, (a, left), (b, times(right, sign)))
            if found is not None:
                return completed(algebra, step, found)
    return None


def _mul(algebra: Algebra, step: Step) -> Term | None:
    if algebra.tensors.root(step.inputs[0]) == algebra.tensors.root(step.inputs[1]) != "":
        return squared_of(algebra, step.inputs[0])
    for a, b in orders(step):
        number, constant, term = algebra.number(b), algebra.constant(b), algebra.term(a)
        if number is not None:
            return _times_number(algebra, step, a, number)
        if constant is not None:
            return _weighted(algebra, step, a, constant)
        if isinstance(term, Normal) and _has_its_sizes(algebra, b, term):
            return replace(term, gamma=str(b), output=step.output)
        counted = times_count(algebra, term, b) if isinstance(term, Moment) else None
        found = counted or _divided(algebra, step, b, a, term)
        if found is not None:
            return found
    return None


def _has_its_sizes(algebra: Algebra, gamma: Operand, term: Normal) -> bool:
    """Whether an input of the graph is the gamma of a norm over all axes, the first included."""
    tensors, shape = algebra.tensors, algebra.tensors.shape(term.tensor)
    alone = term.stage == 0 and not term.closed and tensors.used_once(term.output) and tensors.maker(gamma) is None
    over_all = shape is not None and None not in shape and len(term.span.axes) == len(shape) and shape[:1] > (1,)
    return alone and over_all and tensors.shape(gamma) == shape


def _times_number(algebra: Algebra, step: Step, tensor: Operand, number: float) -> Term | None:
    term = algebra.term(tensor)
    if isinstance(term, Moment):
        return scaled(algebra, term, number)
    if isinstance(term, Normal):
        return extended(algebra, step, term, tensor) if number == 1.0 else None
    if not number or isinstance(term, Squared) or not algebra.is_data(tensor):
        return None
    stored = term if isinstance(term, Combination) and term.beta is None else next(algebra.readings(tensor))
    return completed(algebra, step, times(stored, number))


def _weighted(algebra: Algebra, step: Step, tensor: Operand, constant: str) -> Term | None:
    """A tensor times gamma: normalized, or still to be."""
    term = algebra.term(tensor)
    if isinstance(term, Normal):
        return extended(algebra, step, term, tensor, gamma=constant)
    if isinstance(term, Moment):
        rstd = term.power == -0.5 and term.gamma is None
        return replace(term, gamma=constant) if rstd else None
    if isinstance(term, Squared) or not algebra.is_data(tensor):
        return None
    stored = term if isinstance(term, Combination) else next(algebra.readings(tensor))
    bare = stored.gamma is None and stored.beta is None
    return completed(algebra, step, replace(stored, gamma=constant)) if bare else None


def _divided(algebra: Algebra, step: Step, other: Operand, root: Operand, rstd: Term | None) -> Term | None:
    """Something over the root of a moment; `root` is the tensor that has it, or 1 over it."""
    if not isinstance(rstd, Moment) or not rstd.divides:
        return None
    for reading in algebra.readings(other):
        known = reading.scale is not None or reading.beta is not None or (reading.gamma and rstd.gamma)
        if known or (reading.of_x == 0.0 and reading.mean != rstd.span):
            continue
        axes = axes_in(algebra.tensors, reading.tensor, rstd.span)
        if axes is not None and line_up(algebra.tensors, root, other, axes):
            gamma = reading.gamma or rstd.gamma
            found = replace(reading, scale=rstd, gamma=gamma, nodes=reading.nodes | rstd.nodes)
            return completed(algebra, step, found)
    return None


def _div(algebra: Algebra, step: Step) -> Term | None:
    first, second = step.inputs[:2]
    number, left, right = algebra.number(second), algebra.term(first), algebra.term(second)
    if number is not None:
        return _times_number(algebra, step, first, 1.0 / number) if number else None
    if isinstance(left, Moment) and (found := over_count(algebra, left, second)) is not None:
        return found
    if not isinstance(right, Moment) or right.power != 0.5 or right.gamma is not None:
        return None
    rstd, number, constant = replace(right, power=-0.5), algebra.number(first), algebra.constant(first)
    if number is not None:
        return scaled(algebra, rstd, number)
    if constant is not None:
        return replace(rstd, gamma=constant)
    return _divided(algebra, step, first, second, rstd)


def _neg(algebra: Algebra, step: Step) -> Term | None:
    bare = [each for each in algebra.readings(step.inputs[0]) if each.beta is None]
    return completed(algebra, step, times(bare[-1], -1.0)) if bare else None


def _max(algebra: Algebra, step: Step) -> Term | None:
    for a, b in orders(step):
        if isinstance(algebra.term(a), Moment):
            return floored(algebra, replace(step, inputs=(a,)), algebra.tensors.scalar(b))
    return None


def _clip(algebra: Algebra, step: Step) -> Term | None:
    """A clip without an upper bound, and ReLU, are maxima."""
    function = step.function
    if function is None or function.kind not in ("relu", "clip"):
        return None
    low = 0.0 if function.kind == "relu" else function.low
    return floored(algebra, step, low if function.high == float("inf") else None)


def _broadcast(algebra: Algebra, step: Step) -> Term | None:
    """A statistic brought back to the rank of x, or the reshape after a normalization of a reshaped tensor."""
    term = algebra.term(step.inputs[0])
    if isinstance(term, Moment):
        return replace(term, kept=True)
    if isinstance(term, Combination) and term.of_x == 0.0:
        return term
    if isinstance(term, Normal) and step.kind == "reshape" and algebra.tensors.used_once(step.inputs[0]):
        return regroup(term, step, algebra.tensors)
    return None


def _pass(algebra: Algebra, step: Step) -> Term | None:
    term = algebra.term(step.inputs[0])
    if isinstance(term, Normal) and not algebra.tensors.used_once(step.inputs[0]):
        return None
    return term


def _instance(algebra: Algebra, step: Step) -> Term | None:
    """An instance norm without affine parameters may be the inside of a GroupNorm."""
    tensor, scale, shift = step.inputs[0], *(algebra.tensors.array(each) for each in step.inputs[1:3])
    rank = algebra.tensors.rank(tensor)
    if not isinstance(tensor, str) or rank is None or rank < 3 or scale is None or shift is None:
        return None
    if (scale != 1).any() or (shift != 0).any():
        return None
    span = AveragedAxes(algebra.tensors.root(tensor), tuple(range(2, rank)))
    return Normal(tensor, span, True, step.eps, step.output, step.place, frozenset(), closed=True)


def _batch(algebra: Algebra, step: Step) -> Term | None:
    """A batch norm with the mean and variance of its own input: Keras writes LayerNorm so, between two reshapes."""
    tensor, mean, variance = step.inputs[0], *(algebra.term(each) for each in step.inputs[1:3])
    if not isinstance(mean, Moment) or not isinstance(variance, Moment) or not isinstance(tensor, str):
        return None
    plain = mean.is_plain and variance.is_plain and is_close(mean.factor) and is_close(variance.factor)
    kinds = (mean.kind, variance.kind, mean.span, variance.centre)
    axes = axes_in(algebra.tensors, tensor, mean.span)
    if not plain or kinds != ("mean", "variance", variance.span, variance.span.axes) or axes is None:
        return None
    span = AveragedAxes(algebra.tensors.root(tensor), axes)
    nodes = mean.nodes | variance.nodes
    return Normal(tensor, span, True, step.eps, step.output, step.place, nodes, closed=True)


_RULES: Mapping[str, Callable[[Algebra, Step], Term | None]] = {
    **dict.fromkeys(("mean", "sum", "sum_square", "norm", "variance", "deviation"), reduced),
    "square": lambda algebra, step: squared_of(algebra, step.inputs[0]),
    "pow": lambda algebra, step: raised(algebra, step, algebra.tensors.scalar(step.inputs[1])),
    "sqrt": lambda algebra, step: raised(algebra, step, 0.5),
    "rsqrt": lambda algebra, step: raised(algebra, step, -0.5),
    "reciprocal": lambda algebra, step: raised(algebra, step, -1.0),
    "sub": _sub,
    "add": _add,
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "max": _max,
    **dict.fromkeys(("clip", "function"), _clip),
    "instance_norm": _instance,
    "batch_norm": _batch,
    **dict.fromkeys(("reshape", "broadcast", "expand"), _broadcast),
    "pass": _pass,
}
