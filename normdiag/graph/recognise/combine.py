"""The parts of a normalization put together: x and its mean, the root that divides them, gamma and beta."""

from __future__ import annotations

from dataclasses import replace

from normdiag.graph.numbers import shortest
from normdiag.graph.recognise.affine import fits
from normdiag.graph.recognise.algebra import Algebra, is_close
from normdiag.graph.recognise.spans import axes_in, line_up
from normdiag.graph.recognise.steps import Operand, Step
from normdiag.graph.recognise.terms import AveragedAxes, Combination, Moment, Normal

UNBIASED = "its variance is divided by n - 1, not by n"
OUTSIDE = "its eps of {:g} is added to the standard deviation, not to the variance"
NO_EPS = "nothing keeps its divisor from zero: it has no eps"
FLOOR = "its eps of {:g} is a lower bound of the {}, not an addend"


def times(term: Combination, number: float) -> Combination:
    """It times a number; beta, which a number other than 1 would change, must not be there yet."""
    if number == 1.0:
        return term
    return replace(term, of_x=term.of_x * number, of_mean=term.of_mean * number)


def shifted(term: Combination, constant: str) -> Combination | None:
    """The part with the mean plus beta."""
    alone = term.of_x == 0.0 and term.scale is not None and term.beta is None
    return replace(term, beta=constant) if alone else None


def joined(algebra: Algebra, a: tuple[Operand, Combination], b: tuple[Operand, Combination]) -> Combination | None:
    """The sum of a part with x and a part with its mean, where both are divided and multiplied by the same."""
    (x_name, x), (mean_name, mean) = (a, b) if a[1].of_x else (b, a)
    if not x.of_x or x.of_mean or mean.of_x or mean.mean is None or x.gamma != mean.gamma or x.beta is not None:
        return None
    if (x.scale and x.scale.key) != (mean.scale and mean.scale.key):
        return None
    axes = axes_in(algebra.tensors, x.tensor, mean.mean)
    if axes is None or not line_up(algebra.tensors, mean_name, x_name, axes):
        return None
    nodes, root = x.nodes | mean.nodes, algebra.tensors.root
    tensor = mean.tensor if root(mean.tensor) == root(x.tensor) else x.tensor  # the same, after or before a cast
    return replace(x, tensor=tensor, of_mean=mean.of_mean, mean=mean.mean, beta=mean.beta, nodes=nodes)


def completed(algebra: Algebra, step: Step, term: Combination) -> Combination | Normal | None:
    """The normalization that a combination is, once nothing is missing; None where its parameters do not fit."""
    scale = term.scale
    if scale is None or not is_close(term.of_x * scale.factor**-0.5):
        return term
    centred = scale.kind == "variance"
    whole = term.of_mean == -term.of_x and term.mean == scale.span if centred else term.of_mean == 0.0
    axes = axes_in(algebra.tensors, term.tensor, scale.span)
    if not whole or axes is None:
        return term
    span = AveragedAxes(algebra.tensors.root(term.tensor), axes)
    if term.gamma is None and not scale.is_guarded:
        return term  # what standardizes with nothing against zero and learns no scale may be no layer
    eps, notes = _eps(scale)
    normal = Normal(term.tensor, span, centred, eps, step.output, step.place, term.nodes, notes=notes)
    rank = algebra.tensors.rank(term.tensor)
    for constant in (term.gamma, term.beta):
        array = algebra.tensors.array(constant) if constant is not None else None
        if constant is not None and array is not None and not fits(array, normal, rank):
            return None
    return replace(normal, gamma=term.gamma, beta=term.beta)


def extended(
    algebra: Algebra,
    step: Step,
    term: Normal,
    tensor: Operand,
    gamma: str | None = None,
    beta: str | None = None,
) -> Normal | None:
    """A normalized tensor that nobody else reads with a gamma or a beta, or with neither (times 1, plus 0)."""
    tensors = algebra.tensors
    if term.beta is not None or (gamma and term.gamma is not None) or not tensors.used_once(tensor):
        return None
    constant, number = gamma or beta, None
    if constant is not None:
        number = tensors.scalar(constant)
    neutral = constant is None or number == (1.0 if gamma else 0.0)
    if neutral:
        return replace(term, output=step.output)
    if term.closed or not fits(tensors.array(str(constant)), term, tensors.rank(term.tensor)):
        return None
    return replace(term, gamma=gamma or term.gamma, beta=beta, output=step.output)


def _eps(scale: Moment) -> tuple[float, tuple[str, ...]]:
    """Its eps in units of the mean square or variance, and what is unusual about it."""
    notes: tuple[str, ...] = (UNBIASED,) if scale.unbiased else ()
    eps, outside = scale.eps / scale.factor, scale.outside / scale.factor**0.5
    if scale.factor != 1.0:
        eps, outside = shortest(eps), shortest(outside)
    what = "standard deviation" if scale.kind == "variance" else "root mean square"
    if outside:
        notes += (FLOOR.format(outside, what) if scale.floored else OUTSIDE.format(outside),)
    elif not eps:
        notes += (NO_EPS,)
    elif scale.floored:
        notes += (FLOOR.format(eps, "variance" if scale.kind == "variance" else "mean square"),)
    return eps or float(f"{outside**2:.3g}"), notes
