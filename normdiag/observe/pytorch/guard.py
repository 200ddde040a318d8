"""Leaving a model as it was found, whatever its forward does or raises."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

SEED = 0


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Inside: every module in eval mode, no gradients, seeded random numbers. After: all of it as before.

    Training flags are set one by one, not by model.eval(), which models override with side effects of their own.
    Buffers that a forward writes to or replaces are put back.
    """
    devices = sorted({value.device.index or 0 for value in model.parameters() if value.device.type == "cuda"})
    flags = [(module, module.training) for module in model.modules() if hasattr(module, "training")]
    buffers = [(module, _buffers(module)) for module in model.modules()]
    values = [(value, value._version, value.detach().clone()) for value in model.buffers()]
    with torch.no_grad(), torch.random.fork_rng(devices), _eager():
        torch.manual_seed(SEED)
        try:
            for module, _ in flags:
                _set_training(module, False)
            yield
        finally:
            for module, flag in flags:
                _set_training(module, flag)
            _restore(buffers, values)


def _set_training(module: nn.Module, flag: bool) -> None:
    if module.training != flag:
        module.training = flag


def _restore(buffers: list[tuple[nn.Module, dict[str, Any]]], values: list[tuple[Tensor, int, Tensor]]) -> None:
    for value, version, copy in values:
        if value._version != version:
            value.copy_(copy)
    for module, before in buffers:
        now = _buffers(module)
        for name in now.keys() - before.keys():
            delattr(module, name)
        for name, value in before.items():
            if name not in now or now[name] is not value:
                setattr(module, name, value)


def _buffers(module: nn.Module) -> dict[str, Any]:
    scripted = isinstance(module, torch.jit.ScriptModule)  # whose _buffers leave out what is None
    return dict(module.named_buffers(recurse=False)) if scripted else dict(module._buffers)


def _eager() -> Any:
    """Run parts under torch.compile as they are written: compiled code cannot be watched."""
    if "torch._dynamo" not in sys.modules:  # then nothing was compiled, and importing it would cost seconds
        return nullcontext()
    return torch.compiler.set_stance("force_eager")
