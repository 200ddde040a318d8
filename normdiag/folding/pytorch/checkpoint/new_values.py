"""What a fold makes of the tensors of a checkpoint: the new values of each, computed when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
from torch.export import ExportedProgram

from normdiag.folding.affine import shifts
from normdiag.folding.floats import as_dtype
from normdiag.folding.pytorch.neutral import neutral_value
from normdiag.folding.weights import changes_weight, new_bias, new_parameters, scaled_blocks
from normdiag.graph.importers.torch_export import stored_names
from normdiag.models.pytorch.arrays import Array, to_numpy
from normdiag.records import Conv, Detail, FoldPlan, LayerEdit, Linear, Norm, Op, OpGraph, Parameter

# The values of one tensor in order, in as many pieces as keep memory low.
Pieces = Callable[[], Iterator[Array]]


def new_values(program: ExportedProgram, graph: OpGraph, plan: FoldPlan) -> Mapping[str, Pieces]:
    """By the names of the program's state dict. The graph is a fixed one, so that parameters are all that changes."""
    if plan.removed or plan.beside:
        raise ValueError("the plan takes away operations, which the code of the model would still run")
    names = stored_names(program)
    found: dict[str, Pieces] = {}
    for index, edit in plan.edits.items():
        for parameter, pieces in _edited(graph.ops[index], edit):
            found[names[parameter.name]] = pieces
    for index in (*plan.stripped, *plan.shifts):
        detail = graph.ops[index].detail
        assert isinstance(detail, Norm)
        for given, wanted in ((detail.gamma, 1.0), (detail.beta, 0.0)):
            neutral = None if given is None else neutral_value(program, given.name, wanted)
            if neutral is not None:
                found[neutral.name] = _whole(to_numpy(neutral.value))
    for index, shift in plan.shifts.items():
        beta = getattr(graph.ops[index].detail, "beta", None)
        assert isinstance(beta, Parameter)  # a shift that is not zero comes from it
        value = np.broadcast_to(shift, (*shift.shape[: -len(beta.shape)], *beta.shape)).reshape(beta.shape)
        found[names[beta.name]] = _whole(value.astype(as_dtype(beta.dtype)))
    return found


def widened_graph(graph: OpGraph) -> OpGraph:
    """The graph as if all was stored in float64, so that new values are not rounded."""

    def wide(detail: Detail) -> Detail:
        held = {field.name: getattr(detail, field.name) for field in fields(detail)}
        found = {name: each for name, each in held.items() if isinstance(each, Parameter)}
        return replace(detail, **{name: replace(each, dtype="float64") for name, each in found.items()})  # type: ignore[arg-type]

    return replace(graph, ops=tuple(replace(op, detail=wide(op.detail)) for op in graph.ops))


def joined(pieces: Pieces, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """All of a tensor."""
    result = np.empty(shape, dtype)
    flat, start = result.reshape(-1), 0
    for piece in pieces():
        flat[start : start + piece.size] = piece.reshape(-1)
        start += piece.size
    if start != flat.size:
        raise ValueError(f"{start} values for a tensor of {flat.size}")
    return result


def _edited(op: Op, edit: LayerEdit) -> Iterator[tuple[Parameter, Pieces]]:
    match op.detail:
        case Conv() | Linear() as layer:
            if changes_weight(edit):
                yield layer.weight, lambda: scaled_blocks(layer, edit)
            if layer.bias is not None and _moves(edit):
                yield layer.bias, lambda: iter([_bias(layer, edit)])
        case Norm(gamma=gamma, beta=beta):
            new = new_parameters(op, edit)
            for parameter, value in ((gamma, new.weight), (beta, new.bias)):
                if parameter is not None and value is not None:
                    yield parameter, _whole(value)
        case _:
            raise ValueError(f"a {op.kind} has no parameters in the checkpoint")


def _moves(edit: LayerEdit) -> bool:
    outer = edit.outer is not None
    return outer or (edit.inner is not None and shifts(edit.inner))


def _bias(layer: Conv | Linear, edit: LayerEdit) -> Array:
    bias = new_bias(layer, edit)
    assert bias is not None
    return bias


def _whole(value: Array) -> Pieces:
    return lambda: iter([value])
