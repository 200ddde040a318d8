"""What a module out of a torch.export program says of its inputs; any other module says nothing."""

from __future__ import annotations

import inspect

import torch
from torch import fx, nn

from normdiag.records import InputSpec


def declared_inputs(module: nn.Module) -> tuple[InputSpec, ...]:
    """The tensors that the forward takes, with None for free sizes; nothing where an argument is no batch."""
    if not isinstance(module, fx.GraphModule):
        return ()
    nodes = [node for node in module.graph.nodes if node.op == "placeholder"]
    values = {node.name: node.meta.get("val") for node in nodes}
    flat = list(values) == list(inspect.signature(module.forward).parameters)  # else some are in a list or a dict
    if not flat or not all(isinstance(value, torch.Tensor) and value.dim() for value in values.values()):
        return ()
    return tuple(_spec(name, value) for name, value in values.items())


def _spec(name: str, value: torch.Tensor) -> InputSpec:
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return InputSpec(name, str(value.dtype).removeprefix("torch."), shape)
