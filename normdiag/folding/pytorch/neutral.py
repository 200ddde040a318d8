"""What a norm's stored parameter has to be, so that the code of the model makes the scale 1 of it, or the shift 0."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.export import ExportedProgram

from normdiag.graph.importers.torch_export.constants import ProgramConstants


@dataclass(frozen=True, eq=False)
class NeutralValue:
    """The stored tensor of that name does nothing with this value."""

    name: str
    value: Tensor


def neutral_value(program: ExportedProgram, constant: str, wanted: float) -> NeutralValue | None:
    """The value with which the node `constant`, a gamma or beta, is exactly `wanted` everywhere.

    Most code takes the parameter as it is stored, some adds 1 to it. Each number is looked for as if the computation
    were a straight line through what it makes of 0 and 1, and then tried. None where it comes from several tensors, or
    where no such value makes exactly that of it.
    """
    constants = ProgramConstants(program)
    node = next(each for each in program.graph.nodes if each.name == constant)
    roots = constants.roots(node)
    if len(roots) != 1:
        return None
    (root,) = roots
    name, like = constants.stored_name(root), root.meta["val"]
    if name is None:
        return None

    def computed(value: Tensor) -> Tensor:
        return constants.value(node, {root: value})

    zeros, ones = (torch.full(tuple(like.shape), filled, dtype=like.dtype) for filled in (0.0, 1.0))
    at_zero, at_one = (computed(value).double() for value in (zeros, ones))
    if at_zero.shape != like.shape or at_one.shape != like.shape:
        return None
    line = (wanted - at_zero) / (at_one - at_zero)
    value = line.to(like.dtype)
    return NeutralValue(name, value) if bool((computed(value) == wanted).all()) else None
