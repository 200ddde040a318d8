"""GroupNorm as exporters write it: reshaped to (N, groups, ...), normalized, reshaped back."""

from __future__ import annotations

from dataclasses import replace

from normdiag.graph.recognise.steps import Step, Tensors
from normdiag.graph.recognise.terms import Normal


def regroup(term: Normal, back: Step, tensors: Tensors) -> Normal | None:
    """The GroupNorm that a normalization between two reshapes is, `back` being the second; None if it is not one."""
    forth = tensors.maker(term.tensor)
    if term.stage or forth is None or forth.kind != "reshape" or not isinstance(forth.inputs[0], str):
        return None
    source = forth.inputs[0]
    before, after = tensors.rank(source), tensors.rank(back.output)
    if None in (before, after) and back.like != tensors.root(source):
        return None
    if before is not None and after is not None and before != after:
        return None
    axis = _group_axis(term, tensors.rank(term.tensor))
    shape = tensors.shape(term.tensor)
    groups = shape[axis] if axis and shape is not None and axis < len(shape) else None
    if axis is None or groups is None or groups < 1:
        return None
    return replace(
        term,
        tensor=source,
        output=back.output,
        groups=groups,
        grouped_axis=1 if axis == 1 else -1,
        closed=False,
        nodes=term.nodes | {forth.place},
    )


def _group_axis(term: Normal, rank: int | None) -> int | None:
    """The one axis beside the batch that is not averaged over: the first, or the last but one of channels-last."""
    if rank is None or min(term.span.axes) <= 0:
        return None
    free = set(range(1, rank)) - set(term.span.axes)
    return next(iter(free)) if len(free) == 1 and free <= {1, rank - 2} else None
