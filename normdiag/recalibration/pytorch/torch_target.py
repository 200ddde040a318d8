"""A PyTorch module that can be recalibrated, live or with the file that its weights came from."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from normdiag.errors import InputError
from normdiag.models.pytorch.arrays import Array, to_numpy
from normdiag.models.pytorch.layers import class_name, named_modules, tensor
from normdiag.models.pytorch.quiet import quiet
from normdiag.models.pytorch.torch_private import BatchNormBase
from normdiag.observe.protocol import ReplacedStatistics, Runner
from normdiag.observe.pytorch import TorchRunner
from normdiag.records import Model, ModelInfo, NormLayer
from normdiag.writing.rounding import rounded
from normdiag.writing.weight_files import WeightFile

MEAN, VARIANCE = "running_mean", "running_var"


class TorchTarget:
    """Satisfies normdiag.recalibration.target.Recalibratable. The module is changed only by `put_in_place`."""

    def __init__(self, model: Model, weights: WeightFile | None = None, device: str | None = None) -> None:
        """`weights` is the file that the module came from, None for a live one."""
        self._model, self._weights, self._device = model, weights, device

    @property
    def info(self) -> ModelInfo:
        """Where it came from."""
        return self._model.info

    @cached_property
    def runner(self) -> Runner:
        """The module as it is."""
        return TorchRunner(self._model, device=self._device)

    def obstacle(self, layer: NormLayer) -> str | None:
        """Why its statistics cannot be replaced: they are not a module's, or the file does not hold them plainly."""
        module = self._modules.get(layer.name)
        if self.converts(layer):
            return None if self._weights is None else "the file has no statistics of it (track_running_stats=False)"
        if module is None or any(tensor(module, name) is None for name in (MEAN, VARIANCE)):
            return "its statistics are no buffers of a module"
        if self._weights is None:
            return None
        obstacles = (
            self._weights.obstacle(name) for role in (MEAN, VARIANCE) for name in self._names(layer.name, role)
        )
        return next((each for each in obstacles if each is not None), None)

    def converts(self, layer: NormLayer) -> bool:
        """Whether it is a BatchNorm without running statistics, which always normalizes with the batch."""
        module = self._modules.get(layer.name)
        return isinstance(module, BatchNormBase) and module.running_mean is None

    def shared(self, _layers: Sequence[NormLayer]) -> list[tuple[str, ...]]:
        """None: a module that runs several times is one layer."""
        return []

    def changed(self, statistics: Mapping[str, ReplacedStatistics]) -> Runner:
        """A copy of the module with these statistics."""
        return TorchRunner(replace(self._model, program=self.result(statistics)), device=self._device)

    def result(self, statistics: Mapping[str, ReplacedStatistics]) -> nn.Module:
        """A copy of the module with these statistics. Raises InputError where it cannot be copied."""
        try:
            with quiet():
                module: nn.Module = copy.deepcopy(self._model.program)
        except Exception as error:
            raise InputError(f"the model cannot be copied: {error}") from error
        put(module, statistics)
        return module

    def put_in_place(self, statistics: Mapping[str, ReplacedStatistics]) -> None:
        """Give the module itself these statistics."""
        put(self._model.program, statistics)

    def write(self, statistics: Mapping[str, ReplacedStatistics], target: Path) -> tuple[str, ...]:
        """Write the file that the module came from with these statistics, every other byte as it was."""
        assert self._weights is not None
        values: dict[str, Array] = {}
        for layer, each in statistics.items():
            for role, value in ((MEAN, each.mean), (VARIANCE, each.var)):
                values |= dict.fromkeys(self._names(layer, role), value)
        self._weights.write(values, target)
        return ()

    @cached_property
    def _modules(self) -> dict[str, nn.Module]:
        return _modules(self._model.program)

    @cached_property
    def _state(self) -> tuple[dict[str, Any], dict[Any, list[str]]]:
        """The tensors of the module by name, and their names by where they lie."""
        state = dict(self._model.program.state_dict(keep_vars=True))
        names: dict[Any, list[str]] = {}
        for name, value in state.items():
            names.setdefault(_place(value), []).append(name)
        return state, names

    def _names(self, layer: str, role: str) -> list[str]:
        """The tensors of the file that hold this buffer: under every path that leads to its module."""
        path = "" if self._modules[layer] is self._model.program else layer
        name = f"{path}.{role}" if path else role
        state, names = self._state
        return names[_place(state[name])] if name in state else [name]


def put(module: nn.Module, statistics: Mapping[str, ReplacedStatistics]) -> None:
    """Give a module these statistics by layer name, in the dtypes of its buffers.

    Raises InputError, and changes nothing, where one does not fit into its dtype.
    """
    modules = _modules(module)
    for layer in statistics:
        _give_buffers(modules[layer])
    found: list[tuple[Tensor, Tensor]] = []
    for layer, each in statistics.items():
        for role, value in ((MEAN, each.mean), (VARIANCE, each.var)):
            buffer = getattr(modules[layer], role)
            stored = rounded(value, to_numpy(buffer[:0]).dtype, f"{layer}.{role}")
            found.append((buffer, torch.from_numpy(stored.astype("f8")).to(buffer.dtype)))
    with torch.no_grad():
        for buffer, new in found:
            buffer.copy_(new)


def _give_buffers(norm: nn.Module) -> None:
    """A BatchNorm without running statistics gets some, and uses them from now on."""
    if isinstance(norm, BatchNormBase) and norm.running_mean is None:
        like = torch.zeros(norm.num_features) if norm.weight is None else norm.weight.detach()
        norm.register_buffer(MEAN, torch.zeros_like(like))
        norm.register_buffer(VARIANCE, torch.ones_like(like))
        norm.register_buffer("num_batches_tracked", torch.tensor(0, device=like.device))
        norm.track_running_stats = True


def _modules(module: nn.Module) -> dict[str, nn.Module]:
    return {path or class_name(child): child for path, child in named_modules(module)}


def _place(value: Any) -> Any:
    return (value.data_ptr(), value.shape) if isinstance(value, Tensor) else id(value)
