"""The weights between two checkpoints of one architecture: one module, and the two states that it lies between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from normdiag.errors import InputError
from normdiag.wording import abridged

State = Mapping[str, Tensor]


class Between:
    """A module that takes the weights of any point on the straight line from one state to another.

    Floating tensors are interpolated in float64, running statistics among them, and rounded to their own dtype; others,
    as the count of batches, are those of the nearer end. The ends are exact.
    """

    def __init__(self, module: nn.Module, start: State, names: tuple[str, str]) -> None:
        """`module` holds the end's weights and is written to; `start` is kept, not copied; `names` for messages.

        Raises InputError where the two states do not hold the same tensors.
        """
        self._target = tensors_of(module)
        self._start, self._end = start, {name: value.clone() for name, value in self._target.items()}
        _check_alike(start, self._end, names)

    @torch.no_grad()
    def put(self, t: float) -> None:
        """Give the module the weights at `t`, 0 at the start and 1 at the end."""
        for name, tensor in self._target.items():
            tensor.copy_(_interpolated(self._start[name], self._end[name], t))


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of its state by name, not copied."""
    state: dict[str, Any] = module.state_dict()
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _interpolated(start: Tensor, end: Tensor, t: float) -> Tensor:
    if t in (0.0, 1.0) or not end.is_floating_point():
        return start if t < 0.5 else end
    return start.to(end.device, torch.float64).lerp(end.double(), t)


def _check_alike(start: State, end: State, names: tuple[str, str]) -> None:
    a, b = names
    for which, missing in ((b, start.keys() - end.keys()), (a, end.keys() - start.keys())):
        if missing:
            raise InputError(f"{a} and {b} are not of one architecture: {which} has no {abridged(sorted(missing))}")
    for name, value in start.items():
        if value.shape != end[name].shape:
            shapes = " and ".join(str(tuple(each.shape)) for each in (value, end[name]))
            raise InputError(f"{a} and {b} are not of one architecture: {name} has the shapes {shapes}")
