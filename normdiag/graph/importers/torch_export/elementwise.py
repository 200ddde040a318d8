"""Sums and products, element by element: of data with data, and of data with constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from normdiag.graph.importers.torch_export.calls import Call, dtype_of, rank_of, shape_of, sizes_of, words
from normdiag.graph.importers.torch_export.program import AnchoredOp, Program, float64
from normdiag.models.pytorch.arrays import Array
from normdiag.models.pytorch.functions import READERS, function_of
from normdiag.records.ops import Add, Opaque, Pointwise, ScaleShift

Handler = Callable[[Call, Program], tuple[AnchoredOp, ...] | None]


def _sum(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    """add, sub and rsub; `alpha` is a factor of what comes second, of rsub what comes first."""
    (left, right), alpha = _sides(call), call.args.get("alpha", 1)
    signs = (-1, 1) if call.operator == "rsub" else (1, 1 if call.operator == "add" else -1)
    if left is right and program.is_data(left) and alpha == 1 and sum(signs) and dtype_of(left).is_floating_point:
        return (_scale_shift(call, program, left, 2.0, _full(sum(signs), left), _full(0, left)),)
    if program.is_data(left) and program.is_data(right):
        return (program.draft(call, "add", Add(signs), (left, right)),) if alpha == 1 else None
    factors = (-alpha, 1) if call.operator == "rsub" else (1, signs[1] * alpha)
    data, constant, (own, other) = (left, right, factors) if program.is_data(left) else (right, left, factors[::-1])
    if not _keeps(call, program, data) or not abs(alpha) <= torch.finfo(dtype_of(data)).max:
        return None
    if (value := _per_channel(program, data, constant)) is not None:
        return (_scale_shift(call, program, data, constant, _full(own, data), other * value),)
    branches = (*program.operand(left), *program.operand(right)) if alpha == 1 else ()
    return (*branches, program.draft(call, "add", Add(signs), (left, right))) if branches else None


def _product(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    """mul and div by a constant; what divides a constant is no linear map."""
    left, right = _sides(call)
    if call.operator in ("div", "true_divide", "divide") and program.is_data(right):
        return None
    data, constant = (left, right) if program.is_data(left) else (right, left)
    if program.is_data(constant) or not _keeps(call, program, data) or call.args.get("rounding_mode") is not None:
        return None
    value = _per_channel(program, data, constant)
    if value is None:
        return None
    divides = call.operator not in ("mul", "multiply")
    if divides and (value == 0).any():
        return None
    scale = 1.0 / value if divides else value
    return (_scale_shift(call, program, data, constant, scale, _full(0, data)),)


def _negative(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    if not program.is_data(call.first):
        return None
    return (_scale_shift(call, program, call.first, -1.0, _full(-1, call.first), _full(0, call.first)),)


def _scale_shift(call: Call, program: Program, data: Node, constant: Any, scale: Array, shift: Array) -> AnchoredOp:
    tensor = isinstance(constant, Node)
    obstacle = program.obstacle(constant) if tensor else None
    constants = (constant,) if tensor else ()
    detail = ScaleShift(scale, shift, obstacle=obstacle)
    draft = program.draft(call, "scale_shift", detail, (data,), parameters=constants)
    return replace(draft, nodes=(call.node,))


def _keeps(call: Call, program: Program, data: Any) -> bool:
    """Whether the output has the sizes and the dtype of the data."""
    same = program.is_data(data) and dtype_of(call.node) == dtype_of(data)
    return same and dtype_of(data).is_floating_point and sizes_of(call.node) == sizes_of(data)


def _per_channel(program: Program, data: Node, constant: Any) -> Array | None:
    """A number, or a constant that varies along one axis, in the rank of the data; all finite."""
    rank = rank_of(data)
    if isinstance(constant, (int, float)) and not isinstance(constant, bool):
        fits = abs(constant) <= torch.finfo(dtype_of(data)).max  # not for NaN either
        return np.full((1,) * rank, float(constant)) if fits else None
    if not program.is_constant(constant) or (shape := shape_of(constant)) is None or len(shape) > rank:
        return None
    aligned = (1,) * (rank - len(shape)) + shape
    varying = [axis for axis, size in enumerate(aligned) if size != 1]
    if len(varying) > 1 or not dtype_of(constant).is_floating_point:
        return None
    values = float64(program.array(constant)).reshape(aligned)
    return values if np.isfinite(values).all() else None


def _full(value: float, data: Node) -> Array:
    return np.full((1,) * rank_of(data), float(value))


def _sides(call: Call) -> tuple[Any, Any]:
    left, right, *_ = (*call.args.values(), None, None)
    return left, right


def _activation(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    inputs = program.data_read(call.node)
    if not inputs:
        return None
    detail = Opaque("a nonlinearity", _pointwise(call, program))
    return (program.draft(call, "activation", detail, inputs),)


def _pointwise(call: Call, program: Program) -> Pointwise | None:
    """Which function of each value it is, with its numbers."""
    rest = dict(tuple(call.args.items())[1:])
    if call.operator in ("prelu", "_prelu_kernel"):
        return Pointwise("prelu", slope=program.parameter(rest.get("weight")))
    if any(isinstance(each, Node) for each in rest.values()):
        return None
    function = function_of(call.operator, (), rest)
    return None if function is None else Pointwise.of(function)


_ACTIVATIONS = frozenset(READERS) | words(
    """rrelu celu softmax _softmax log_softmax _log_softmax log_sigmoid log_sigmoid_forward threshold glu clamp_min
    clamp_max softshrink hardshrink tanhshrink erf exp abs square pow sqrt rsqrt sin cos log rrelu_with_noise sign
    softsign"""
)
HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(("add", "sub", "rsub", "subtract"), _sum),
    **dict.fromkeys(("mul", "multiply", "div", "divide", "true_divide"), _product),
    "neg": _negative,
    **dict.fromkeys(_ACTIVATIONS, _activation),
}
