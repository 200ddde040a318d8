"""Choices between two tensors, or a tensor and a constant: where, masked_fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from normdiag.graph.importers.torch_export.calls import Call, dtype_name, dtype_of, is_tensor
from normdiag.graph.importers.torch_export.program import AnchoredOp, Program
from normdiag.models.pytorch.arrays import to_numpy
from normdiag.records.ops import Constant, Parameter, Select

Handler = Callable[[Call, Program], tuple[AnchoredOp, ...] | None]


def _where(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    condition, *choices = (*call.args.values(), None, None)[:3]
    return _selected(call, program, condition, choices)


def _masked_fill(call: Call, program: Program) -> tuple[AnchoredOp, ...] | None:
    return _selected(call, program, call.args["mask"], [call.args["value"], call.args["self"]])


def _selected(call: Call, program: Program, condition: Any, choices: list[Any]) -> tuple[AnchoredOp, ...] | None:
    """The condition comes last: whether it is true decides between the other two."""
    floating = is_tensor(call.node) and dtype_of(call.node).is_floating_point
    data = [each for each in choices if program.is_data(each)]
    if not data or not floating or any(dtype_of(each) != dtype_of(call.node) for each in choices if _is_tensor(each)):
        return None
    constants = tuple(place for place, each in enumerate(choices) if not program.is_data(each))
    branches = tuple(each for place in constants for each in _operand(call, program, choices[place]))
    if len(branches) < len(constants):
        return None
    names = iter(each.outputs[0] for each in branches)
    inputs = [next(names) if place in constants else each.name for place, each in enumerate(choices)]
    inputs += [condition.name] if program.is_data(condition) else []
    draft = program.draft(call, "other", Select(constants), ())
    return (*branches, replace(draft, inputs=tuple(inputs)))


def _operand(call: Call, program: Program, value: Any) -> tuple[AnchoredOp, ...]:
    """A constant of the program, or a number, which stands in no node of its own."""
    if isinstance(value, Node):
        return program.operand(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ()
    name, dtype = f"{call.node.name}.value", dtype_of(call.node)
    number = Parameter(name, (), dtype_name(dtype), lambda: to_numpy(torch.full((), value, dtype=dtype)))
    draft = program.draft(call, "constant", Constant(number), (), sizes={name: ()})
    return (replace(draft, operator="constant", outputs=(name,), nodes=()),)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Node) and is_tensor(value)


HANDLERS: Mapping[str, Handler] = {"where": _where, "masked_fill": _masked_fill}
