"""Runs an OpGraph as tests/nets/op_graph.py writes it, in float64, op by op, as it is or with a plan applied."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from normdiag.folding.weights import new_parameters
from normdiag.records import (
    Add,
    Concat,
    Constant,
    Conv,
    FoldPlan,
    Linear,
    NewParameters,
    Norm,
    Op,
    Opaque,
    OpGraph,
    Pass,
    Reshape,
    ScaleShift,
    Split,
    Take,
    Transpose,
    Window,
)

Values = Any


def run(
    graph: OpGraph, feeds: Mapping[str, Values], shapes: Mapping[str, tuple[int, ...]], plan: FoldPlan | None = None
) -> dict[str, Values]:
    """Every tensor by name."""
    plan = plan or FoldPlan()
    values = dict(feeds)
    for index, op in enumerate(graph.ops):
        inputs = [values[name] for name in op.inputs]
        if index in plan.removed:
            results = [inputs[0]]
        elif index in plan.beside:
            results = [0 * inputs[0]]
        elif index in plan.shifts:
            results = [inputs[0] + plan.shifts[index]]
        else:
            new = new_parameters(op, plan.edits[index]) if index in plan.edits else None
            results = _evaluate(op, inputs, shapes, new, index in plan.stripped)
        values.update(zip(op.outputs, results, strict=True))
    return values


def _evaluate(
    op: Op, inputs: list[Values], shapes: Mapping[str, Any], new: NewParameters | None, stripped: bool
) -> list[Values]:
    match op.detail:
        case Conv() as conv:
            return [convolved(conv, inputs[0], new)]
        case Linear() as linear:
            return [multiplied(linear, inputs[0], new)]
        case Norm() as norm:
            return [normalized(norm, inputs[0], new, stripped)]
        case ScaleShift(scale=scale, shift=shift):
            return [inputs[0] * (new.weight if new else scale) + (new.bias if new else shift)]
        case Constant(value=value):
            return [new.weight if new else value.read()]
    return _moved(op, inputs, shapes)


def _moved(op: Op, inputs: list[Values], shapes: Mapping[str, Any]) -> list[Values]:
    moves: dict[type, Callable[[Any], list[Values]]] = {
        Pass: lambda _: inputs[:1],
        Reshape: lambda _: [inputs[0].reshape(shapes[op.outputs[0]])],
        Transpose: lambda detail: [inputs[0].transpose(detail.perm)],
        Window: lambda _: [WINDOWS[op.operator](inputs[0])],
        Concat: lambda detail: [np.concatenate(inputs, detail.axis)],
        Split: lambda detail: list(np.split(inputs[0], np.cumsum(detail.parts)[:-1], detail.axis)),
        Take: lambda detail: [_taken(inputs[0], detail, picks) for picks in detail.picks],
        Add: lambda detail: [sum(sign * each for sign, each in zip(detail.signs, inputs, strict=True))],
        Opaque: lambda _: [np.maximum(inputs[0], 0)],
    }
    return moves[type(op.detail)](op.detail)


def _taken(x: Values, take: Take, picks: Sequence[int]) -> Values:
    chosen: Values = x.take(list(picks), take.axis)
    return chosen.squeeze(take.axis) if take.removed else chosen


def convolved(conv: Conv, x: Values, new: NewParameters | None) -> Values:
    weight = new.weight if new else conv.weight.read()
    bias = new.bias if new else conv.bias.read() if conv.bias else None
    kernel = weight.shape[2:]
    margin = [(0, 0), (0, 0), *((k // 2, k // 2) for k in kernel)]
    if not conv.transposed and conv.padded:
        x = np.pad(x, margin)
    groups = [
        _transposed(w, part) if conv.transposed else _correlated(w, part)
        for w, part in zip(np.split(weight, conv.groups), np.split(x, conv.groups, 1), strict=True)
    ]
    y = np.concatenate(groups, 1)
    if conv.transposed and conv.padded:
        y = y[(slice(None), slice(None), *(slice(k // 2, -(k // 2) or None) for k in kernel))]
    return y if bias is None else y + bias.reshape(-1, *(1 for _ in kernel))


def _correlated(weight: Values, x: Values) -> Values:
    kernel = weight.shape[2:]
    size = [full - k + 1 for full, k in zip(x.shape[2:], kernel, strict=True)]
    total: Values = 0
    for offset in itertools.product(*map(range, kernel)):
        seen = x[(slice(None), slice(None), *(slice(o, o + s) for o, s in zip(offset, size, strict=True)))]
        total = total + np.einsum("oi,ni...->no...", weight[(slice(None), slice(None), *offset)], seen)
    return total


def _transposed(weight: Values, x: Values) -> Values:
    kernel = weight.shape[2:]
    y = np.zeros((x.shape[0], weight.shape[1], *(s + k - 1 for s, k in zip(x.shape[2:], kernel, strict=True))))
    for offset in itertools.product(*map(range, kernel)):
        place = tuple(slice(o, o + s) for o, s in zip(offset, x.shape[2:], strict=True))
        y[(slice(None), slice(None), *place)] += np.einsum(
            "io,ni...->no...", weight[(slice(None), slice(None), *offset)], x
        )
    return y


def multiplied(linear: Linear, x: Values, new: NewParameters | None) -> Values:
    """alpha * product + beta * bias; a new bias is the effective one."""
    weight = new.weight if new else linear.weight.read()
    matrix = weight if linear.out_axis == -1 else np.swapaxes(weight, -1, -2)  # (in, out)
    if matrix.ndim == 2:
        y = np.moveaxis(np.moveaxis(x, linear.input_axis, -1) @ matrix, -1, linear.channel_axis)
    else:
        y = x @ matrix if linear.channel_axis == -1 else np.swapaxes(matrix, -1, -2) @ x
    if new:
        return linear.alpha * y + (0 if new.bias is None else new.bias)
    return linear.alpha * y + (linear.beta * linear.bias.read() if linear.bias else 0)


def normalized(norm: Norm, x: Values, new: NewParameters | None, stripped: bool) -> Values:
    if norm.layer.kind == "batch_norm":
        gamma, beta = (new.weight, new.bias) if new else (norm.layer.gamma, norm.layer.beta)
        column = lambda v: np.asarray(v).reshape(-1, *(1 for _ in x.shape[2:]))  # noqa: E731
        deviation = np.sqrt(column(norm.layer.running_var) + (norm.layer.eps or 0))
        return (x - column(norm.layer.running_mean)) / deviation * column(gamma) + column(beta)
    assert norm.gamma
    axes = tuple(range(-len(norm.gamma.shape), 0))
    centre = x.mean(axes, keepdims=True) if norm.layer.kind == "layer_norm" else 0
    y = (x - centre) / np.sqrt(((x - centre) ** 2).mean(axes, keepdims=True) + (norm.layer.eps or 0))
    if stripped:
        return y
    gamma = new.weight if new else norm.gamma.read()
    beta = new.bias if new else norm.beta.read() if norm.beta else None
    return y * gamma + (0 if beta is None else beta)


def _pooled(x: Values, width: int, reduce: Callable[[Values], Values]) -> Values:
    for axis in range(2, x.ndim):
        stacked = [x[(slice(None),) * axis + (slice(o, x.shape[axis] - width + 1 + o),)] for o in range(width)]
        x = reduce(np.stack(stacked))
    return x


def _padded(x: Values) -> Values:
    return np.pad(x, [(0, 0), (0, 0), *((1, 1) for _ in x.shape[2:])])


def _doubled(x: Values) -> Values:
    for axis in range(2, x.ndim):
        x = np.repeat(x, 2, axis)
    return x


WINDOWS: Mapping[str, Callable[[Values], Values]] = {
    "MaxPool": lambda x: _pooled(x, 2, lambda s: s.max(0)),
    "AveragePool": lambda x: _pooled(x, 2, lambda s: s.mean(0)),
    "PaddedPool": lambda x: _pooled(_padded(x), 3, lambda s: s.mean(0)),
    "GlobalAveragePool": lambda x: x.mean(tuple(range(2, x.ndim)), keepdims=True),
    "ReduceMean": lambda x: x.mean(tuple(range(2, x.ndim))),
    "Resize": _doubled,
    "Pad": _padded,
}


def agree(before: Mapping[str, Values], after: Mapping[str, Values], outputs: tuple[str, ...]) -> bool:
    """Whether the outputs are equal but for rounding, beside the largest number that occurred on the way."""
    largest = max(np.abs(v).max(initial=1) for v in (*before.values(), *after.values()))
    return all(np.abs(before[name] - after[name]).max(initial=0) <= 1e-11 * largest for name in outputs)
