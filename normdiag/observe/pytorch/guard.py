"""Leaving a model as it was found, whatever its forward does or raises."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from normdiag.errors import UsageError

SEED = 0


@contextmanager
def untouched(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Inside: every module in eval mode, no gradients, seeded random numbers. After: all of it as before.

    Training flags are set one by one, not by model.eval(), which models override with side effects of their own.
    Buffers that a forward writes to or replaces are put back.
    """
    modules = list(model.modules())
    flags = [(module, module.training) for module in modules if hasattr(module, "training")]
    buffers = [(module, held) for module in modules if (held := _buffers(module))]
    tensors = {id(value): value for _, held in buffers for value in held.values() if value is not None}
    values = [(value, value._version, value.detach().clone()) for value in tensors.values()]
    with torch.no_grad(), _seeded(device), _eager(modules):
        try:
            for module, _ in flags:
                _set_training(module, False)
            yield
        finally:
            for module, flag in flags:
                _set_training(module, flag)
            _restore(buffers, values)


@contextmanager
def _seeded(device: torch.device) -> Iterator[None]:
    """The same random numbers in every run, on the CPU and the GPU in use; and then as if none had been drawn."""
    gpus = [torch.cuda.default_generators[device.index or 0]] if device.type == "cuda" else []
    generators = [torch.default_generator, *gpus]
    states = [generator.get_state() for generator in generators]
    for generator in generators:
        generator.manual_seed(SEED)
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


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


def _eager(modules: Sequence[nn.Module]) -> Any:
    """Run parts under torch.compile as they are written: compiled code cannot be watched."""
    if "torch._dynamo" not in sys.modules:  # then nothing was compiled, and importing it would cost seconds
        return nullcontext()
    if hasattr(torch.compiler, "set_stance"):
        return torch.compiler.set_stance("force_eager")
    if any(hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) for module in modules):
        raise UsageError("parts of the model are compiled; give it as it was before torch.compile, or use torch 2.6")
    return nullcontext()
