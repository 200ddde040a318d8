"""A fold plan carried out on a torch.export program."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from normdiag.folding.pytorch.editor import ProgramEditor, argument_of, has_argument
from normdiag.folding.weights import changes_weight, new_parameters
from normdiag.models.pytorch.arrays import Array, to_tensor
from normdiag.records import (
    Constant,
    Conv,
    FoldPlan,
    LayerEdit,
    Linear,
    NewParameters,
    Norm,
    Op,
    OpGraph,
    Parameter,
    ScaleShift,
)

aten = torch.ops.aten
_FILLS = (aten.masked_fill.Scalar, aten.masked_fill_.Scalar, aten.masked_fill.Tensor, aten.masked_fill_.Tensor)


@dataclass(frozen=True, eq=False)
class Change:
    """One new value: what op it belongs to, as its 'weight', 'bias' or 'shift', and where the program stores it."""

    op: int
    role: str
    target: str
    value: Tensor


@dataclass(frozen=True, eq=False)
class Applied:
    """The folded program, what was written into it, and the node that each node of the original is now."""

    program: ExportedProgram
    changes: tuple[Change, ...]
    names: Mapping[str, str]


def apply_plan(program: ExportedProgram, graph: OpGraph, plan: FoldPlan) -> Applied:
    """Carry out `plan`, made for `graph`, the OpGraph of `program`, on a copy of it."""
    return _Application(program, graph).run(plan)


class _Application:
    def __init__(self, program: ExportedProgram, graph: OpGraph) -> None:
        self._editor = ProgramEditor(program)
        self._graph = graph
        self._old = [node.name for node in program.graph.nodes]
        self._changes: list[Change] = []

    def run(self, plan: FoldPlan) -> Applied:
        for index, edit in plan.edits.items():
            self._edit(index, self._graph.ops[index], edit)
        for index in plan.stripped:
            self._strip(self._graph.ops[index])
        for index, shift in plan.shifts.items():
            self._shift(index, self._graph.ops[index], shift)
        for index in plan.removed:
            self._remove(self._graph.ops[index])
        for index, beside in plan.beside.items():
            self._drop_term(self._graph.ops[beside.shortened], beside.place)
            self._remove(self._graph.ops[index])
        program = self._editor.finish()
        return Applied(program, tuple(self._changes), self._editor.names())

    def _edit(self, index: int, op: Op, edit: LayerEdit) -> None:
        new = new_parameters(op, edit)
        match op.detail:
            case Conv() | Linear() as layer:
                self._layer(index, op, layer, new, scaled=changes_weight(edit))
            case Norm() as norm:
                self._norm(index, op, norm, new)
            case ScaleShift():
                self._scale_shift(index, op, new)
            case Constant():
                self._constant(index, op, new)
            case _:
                raise TypeError(f"a {op.kind} has no parameters to edit")

    def _layer(self, index: int, op: Op, layer: Conv | Linear, new: NewParameters, *, scaled: bool) -> None:
        core = self._core(op)
        if scaled:
            self._exchange(index, op, "weight", layer.weight, new.weight)
        if getattr(layer, "beta", 1.0) != 1.0:
            self._editor.set_argument(core, "beta", 1)
        if new.bias is None:
            return
        if layer.bias is not None:
            if np.array_equal(new.bias, layer.bias.read()) and getattr(layer, "beta", 1.0) == 1.0:
                return
            self._exchange(index, op, "bias", layer.bias, new.bias)
        elif has_argument(core, "bias"):
            self._editor.set_argument(core, "bias", self._parameter(index, op, "bias", new.bias))
        else:
            self._append(index, op, core, new.bias)

    def _norm(self, index: int, op: Op, norm: Norm, new: NewParameters) -> None:
        """New gamma and beta; where a norm is written in single operations, a beta that it lacked is one more."""
        core = self._core(op)
        for role, old, value in (("weight", norm.gamma, new.weight), ("bias", norm.beta, new.bias)):
            if value is None:
                continue
            if old is not None:
                self._exchange(index, op, role, old, value)
            elif has_argument(core, role):
                self._editor.set_argument(core, role, self._parameter(index, op, role, value))
            else:
                self._append(index, op, self._editor.node(op.outputs[0]), value)

    def _strip(self, op: Op) -> None:
        """Neither gamma nor beta any more; where a norm is written in single operations, those that apply them go."""
        assert isinstance(op.detail, Norm)
        core = self._core(op)
        for role, old in (("weight", op.detail.gamma), ("bias", op.detail.beta)):
            if has_argument(core, role):
                self._editor.set_argument(core, role, None)
            elif old is not None:
                constant = self._editor.node(old.name)
                applied = next(node for node in self._nodes(op) if constant in node.all_input_nodes)
                self._bypass(applied, next(node for node in applied.all_input_nodes if node is not constant))

    def _scale_shift(self, index: int, op: Op, new: NewParameters) -> None:
        """The whole chain becomes one multiplication and one addition, each where it does something."""
        last, result = self._editor.node(op.outputs[0]), self._editor.node(op.inputs[0])
        steps = ((aten.mul.Tensor, "weight", new.weight, 1), (aten.add.Tensor, "bias", new.bias, 0))
        for operator, role, value, neutral in steps:
            if value is not None and (value != neutral).any():
                constant = self._parameter(index, op, role, value)
                result = self._editor.add(operator, (result, constant), like=last)
        self._editor.replace(last, result)

    def _constant(self, index: int, op: Op, new: NewParameters) -> None:
        """Only the ops that read it as data get the new value."""
        readers = [each for each in self._graph.ops if op.outputs[0] in each.inputs]
        choice = self._editor.node(readers[0].outputs[0])
        if not op.nodes or choice.target in _FILLS:
            self._choice(choice, self._parameter(index, op, "value", new.weight), op.outputs[0])
            return
        old = self._editor.node(op.outputs[0])
        nodes = {self._editor.node(self._old[number]) for each in readers for number in each.nodes}
        users = [user for user in old.users if user in nodes or user.op == "output"]
        placeholder = self._parameter(index, op, "weight", new.weight, old, users[0] if len(users) == 1 else None)
        if placeholder is not old:
            self._editor.replace(old, placeholder, users)

    def _choice(self, last: fx.Node, constant: fx.Node, old: str) -> None:
        """What fills in a number chooses from two tensors now; a number that it holds itself has no name."""
        if last.target in _FILLS:
            args = (argument_of(last, "mask"), constant, argument_of(last, "self"))
        else:
            choices = (argument_of(last, name) for name in ("self", "other"))
            chosen = (each if isinstance(each, fx.Node) and each.name != old else constant for each in choices)
            args = (argument_of(last, "condition"), *chosen)
        self._editor.replace(last, self._editor.add(aten.where.self, args, like=last))

    def _shift(self, index: int, op: Op, shift: Array) -> None:
        last, data = self._editor.node(op.outputs[0]), self._editor.node(op.inputs[0])
        value = to_tensor(shift).to(last.meta["val"].dtype)
        constant = self._parameter(index, op, "shift", value)
        self._editor.replace(last, self._editor.add(aten.add.Tensor, (data, constant), like=last))

    def _remove(self, op: Op) -> None:
        self._bypass(self._editor.node(op.outputs[0]), self._editor.node(op.inputs[0]))

    def _drop_term(self, op: Op, place: int) -> None:
        """Let a sum of two go: what read it reads the other term."""
        last = self._editor.node(op.outputs[0])
        self._bypass(last, last.args[1 - place])  # type: ignore[arg-type]

    def _bypass(self, last: fx.Node, data: fx.Node) -> None:
        """What read `last` reads `data`, in the dtype of `last`."""
        if last.meta["val"].dtype != data.meta["val"].dtype:
            kind = {"dtype": last.meta["val"].dtype}
            data = self._editor.add(aten._to_copy.default, (data,), kind, like=last)
        self._editor.replace(last, data)

    def _append(self, index: int, op: Op, core: fx.Node, bias: Array) -> None:
        constant = self._parameter(index, op, "bias", bias)
        self._editor.replace(core, self._editor.add(aten.add.Tensor, (core, constant), like=core))

    def _exchange(self, index: int, op: Op, role: str, old: Parameter, value: Array) -> None:
        """Give the one node of the op that reads `old` the new value."""
        source = self._editor.node(old.name)
        reader = next(node for node in self._nodes(op) if source in node.all_input_nodes)
        placeholder = self._parameter(index, op, role, value, source, reader)
        if placeholder is not source:
            self._editor.replace(source, placeholder, [reader])

    def _parameter(
        self,
        index: int,
        op: Op,
        role: str,
        value: Array | Tensor,
        source: fx.Node | None = None,
        reader: fx.Node | None = None,
    ) -> fx.Node:
        tensor = value if isinstance(value, Tensor) else to_tensor(value)
        placeholder = self._editor.parameter(tensor, _path(op, role), source, reader)
        self._changes.append(Change(index, role, self._editor.target(placeholder), tensor))
        return placeholder

    def _core(self, op: Op) -> fx.Node:
        return self._nodes(op)[0]

    def _nodes(self, op: Op) -> list[fx.Node]:
        return [self._editor.node(self._old[number]) for number in op.nodes]


def _path(op: Op, role: str) -> str:
    """Where a module of that name would have the parameter."""
    parts = [re.sub(r"\W", "_", part) for part in op.name.partition("#")[0].split(".") if part]
    return ".".join((*parts, role))
