"""Normalization between two reshapes: GroupNorm as exporters write it, InstanceNorm on flat positions."""

from __future__ import annotations

from dataclasses import replace

from normdiag.graph.recognise.spans import reshapes_to
from normdiag.graph.recognise.steps import Operand, Step, Tensors
from normdiag.graph.recognise.terms import AveragedAxes, Normal
from normdiag.graph.sizes import across


def regroup(term: Normal, back: Step, tensors: Tensors) -> Normal | None:
    """The layer that a normalization between two reshapes is, `back` being the second; None if it is none.

    Where the reshape leaves the axes apart, it is the same layer on the tensor before it. Else it is a GroupNorm.
    """
    forth = [] if term.stage else list(reshapes_to(tensors, term.tensor))
    ends = (number for number, step in enumerate(forth) if _is_inverse(step.inputs[0], back, tensors))
    end = next(ends, None)
    if end is None:
        return None
    source = str(forth[end].inputs[0])
    nodes = term.nodes | {step.place for step in forth[: end + 1]}
    found = replace(term, tensor=source, output=back.output, nodes=nodes, closed=False)
    apart, groups = _apart(term, source, tensors), _groups(term, tensors)
    if apart is not None and not (term.closed and groups is not None):
        return replace(found, span=AveragedAxes(tensors.root(source), apart), moved=True)
    return None if groups is None else replace(found, groups=groups[0], grouped_axis=groups[1])


def _is_inverse(source: Operand, back: Step, tensors: Tensors) -> bool:
    """Whether a reshape gives a tensor the sizes of the source again."""
    old, new = tensors.sizes(source), tensors.sizes(back.output)
    if old is not None and old == new:
        return True
    before, after = tensors.rank(source), tensors.rank(back.output)
    if None in (before, after):
        return back.like == tensors.root(source)
    known = tensors.shape(source), tensors.shape(back.output)
    return before == after and all(a == b or None in (a, b) for a, b in zip(*(s or () for s in known), strict=True))


def _apart(term: Normal, source: str, tensors: Tensors) -> tuple[int, ...] | None:
    """The axes of the source that hold what is averaged."""
    old, new = tensors.sizes(term.tensor), tensors.sizes(source)
    if old is None or new is None or min(term.span.axes) < 0 or max(term.span.axes) >= len(old):
        return None
    return across(old, new, term.span.axes)


def _groups(term: Normal, tensors: Tensors) -> tuple[int, int] | None:
    """The number of groups, and where the channels lie: 1 or -1."""
    axis = _group_axis(term, tensors.rank(term.tensor))
    shape = tensors.shape(term.tensor)
    groups = shape[axis] if axis and shape is not None and axis < len(shape) else None
    if axis is None or groups is None or groups < 1:
        return None
    return groups, 1 if axis == 1 else -1


def _group_axis(term: Normal, rank: int | None) -> int | None:
    """The one axis beside the batch that is not averaged over: the first, or the last but one of channels-last."""
    if rank is None or min(term.span.axes) <= 0:
        return None
    free = set(range(1, rank)) - set(term.span.axes)
    return next(iter(free)) if len(free) == 1 and free <= {1, rank - 2} else None
