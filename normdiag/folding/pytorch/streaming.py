"""Running a program whose weights are read one at a time: each where an operation needs it, and no longer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from normdiag.graph.importers.torch_export import ReadStored
from normdiag.models.pytorch.arrays import shared_tensor
from normdiag.models.pytorch.torch_private import pytree

aten = torch.ops.aten
# Bytes of a weight that are widened to float64 at once.
PIECE = 1 << 23


@dataclass(frozen=True, eq=False)
class OnDemand:
    """A stored tensor that is read when it is asked for; `held` is the program's own, for what `read` has not."""

    name: str
    read: ReadStored
    held: Tensor

    def value(self) -> Tensor:
        """Its values, in the dtype that is stored."""
        found = self.read(self.name)
        return self.held if found is None else shared_tensor(found)


class StreamedInterpreter(fx.Interpreter):
    """Runs the nodes of a program one by one; `double`: in float64, into which weights are widened as they are read.

    Of a linear layer and an embedding, whose weights are the largest, no more than a piece is widened at a time.
    """

    def __init__(self, module: fx.GraphModule, *, double: bool) -> None:
        """`module` takes an OnDemand wherever it takes a stored tensor."""
        super().__init__(module, garbage_collect_values=True)
        self._double = double

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One operation, with the weights that it reads."""
        in_pieces = _IN_PIECES.get(target) if self._double else None
        if in_pieces is not None and any(isinstance(each, OnDemand) for each in args):
            return in_pieces(*args, **kwargs)
        args, kwargs = pytree.tree_map_only(OnDemand, self._whole, (args, kwargs))
        return super().call_function(target, args, kwargs)

    def output(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the program returns, of which some may be stored tensors themselves."""
        return super().output(target, pytree.tree_map_only(OnDemand, self._whole, args), kwargs)

    def _whole(self, stored: OnDemand) -> Tensor:
        return stored.value().double() if self._double else stored.value()


def _linear(data: Tensor, weight: Any, bias: Any = None) -> Tensor:
    rows = _value(weight)
    size = max(PIECE // max(rows[:1].numel() * rows.element_size(), 1), 1)
    parts = [functional.linear(data, part.double()) for part in torch.split(rows, size)]
    found = torch.cat(parts, -1)
    return found if bias is None else found + _value(bias).double()


def _embedding(weight: Any, indices: Tensor, *_: Any, **__: Any) -> Tensor:
    return _value(weight)[indices].double()


def _value(stored: Any) -> Tensor:
    found: Tensor = stored.value() if isinstance(stored, OnDemand) else stored
    return found


_IN_PIECES: Mapping[Any, Callable[..., Tensor]] = {aten.linear.default: _linear, aten.embedding.default: _embedding}
