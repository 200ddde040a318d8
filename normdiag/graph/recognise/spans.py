"""Which axes of which tensor a statistic is taken over, followed through reshapes that leave these axes apart."""

from __future__ import annotations

from collections.abc import Iterable

from normdiag.graph.recognise.steps import Operand, Step, Tensors
from normdiag.graph.recognise.terms import AveragedAxes
from normdiag.graph.sizes import across

# An exporter puts one or two between a tensor and its mean.
MAX_RESHAPES = 8


def source_span(tensors: Tensors, tensor: str, axes: tuple[int, ...]) -> AveragedAxes:
    """The span of `axes` of a tensor, counted from 0 if its rank is known, where its values first came from.

    The mean of x.view(N, C, -1) over its last axis is that of x over its positions.
    """
    rank = tensors.rank(tensor)
    counted = axes if rank is None else (a % rank if rank else a for a in axes)
    span = AveragedAxes(tensors.root(tensor), tuple(sorted(counted)))
    for step in reshapes_to(tensors, tensor):
        found = _moved(tensors, step.output, step.inputs[0], span.axes)
        if found is None:
            return span
        span = AveragedAxes(tensors.root(step.inputs[0]), found)
    return span


def axes_in(tensors: Tensors, tensor: Operand, span: AveragedAxes) -> tuple[int, ...] | None:
    """The axes of a tensor that hold what the span averages; None where it is not the tensor that the span is of."""
    path: list[Step] = []
    for step in (None, *reshapes_to(tensors, tensor)):
        path = path if step is None else [step, *path]
        here = tensor if step is None else step.inputs[0]
        if tensors.root(here) != span.x:
            continue
        axes: tuple[int, ...] | None = span.axes
        for each in path:
            axes = None if axes is None else _moved(tensors, each.inputs[0], each.output, axes)
        return axes
    return None


def line_up(tensors: Tensors, statistic: Operand, tensor: Operand, axes: tuple[int, ...]) -> bool:
    """Whether a statistic broadcasts against a tensor along the axes that it was not taken over, as far as is known."""
    small, large = tensors.shape(statistic), tensors.shape(tensor)
    if small is None or large is None or not small or not large:
        return True
    if len(small) != len(large):
        return False
    pairs = [pair for axis, pair in enumerate(zip(small, large, strict=True)) if axis not in axes]
    return all(a == b or (a is None and b != 1) or (b is None and a != 1) for a, b in pairs)


def reshapes_to(tensors: Tensors, tensor: Operand) -> Iterable[Step]:
    """The reshapes that lead to a tensor, the last first."""
    for _ in range(MAX_RESHAPES):
        step = tensors.maker(tensors.root(tensor))
        if step is None or step.kind != "reshape" or not isinstance(step.inputs[0], str):
            return
        yield step
        tensor = step.inputs[0]


def _moved(tensors: Tensors, before: Operand, after: Operand, axes: tuple[int, ...]) -> tuple[int, ...] | None:
    old, new = tensors.sizes(before), tensors.sizes(after)
    if old is None or new is None or not axes or min(axes) < 0 or max(axes) >= len(old):
        return None
    return across(old, new, axes)
