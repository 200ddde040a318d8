"""TorchRunner: one batch through a live module, twice, with its normalization layers and activations watched."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from normdiag.errors import InputError, UsageError
from normdiag.models.freed_memory import keep_memory
from normdiag.models.pytorch.arrays import Array
from normdiag.models.pytorch.forward_form import taken
from normdiag.models.pytorch.layers import module_layers, named_modules, require_initialised, unwrap
from normdiag.observe.gap import compare_outputs
from normdiag.observe.points import array_points, input_points
from normdiag.observe.protocol import Outputs, ReplacedStatistics, SeenBatch
from normdiag.observe.pytorch.batch_axis import free_batch
from normdiag.observe.pytorch.guard import untouched
from normdiag.observe.pytorch.passes import (
    BatchPass,
    DeployedPass,
    Listener,
    PointPass,
    PopulationPass,
    RowsPass,
    TrialPass,
)
from normdiag.observe.pytorch.values import as_inputs, model_dtype, named_outputs, tensors
from normdiag.observe.pytorch.watcher import LayoutError, Watcher
from normdiag.observe.sampled import SEED
from normdiag.ops import SATURATION_THRESHOLD
from normdiag.records import ActivationSums, Batch, Evidence, LayerEvidence, Model, NormLayer, Point, PointSums
from normdiag.records.precision import NormRows
from normdiag.records.recalibration import PopulationSums

NOT_RUN = "did not run on this data"
READ_FROM_OUTSIDE = (
    "its weights are streamed, and a module read those of another: list the class of the one that holds both in "
    "_no_split_modules of the model's class"
)
NOT_SEEN = "was not seen to run: TorchScript may have merged it into other operators"


class TorchRunner:
    """Runs a Model whose program is a torch.nn.Module. Satisfies `normdiag.observe.protocol.Runner`.

    Each forward runs in eval mode without gradients; afterwards the module is bit-identical to before, flags, buffers
    and hooks included. `device` is None for where the module is, or 'cpu', 'cuda', 'cuda:1', 'mps'; elsewhere than
    where the module is, a copy runs. `threshold` on |f'| / max|f'| bounds the saturated tails. Raises UsageError for a
    device that is not there, InputError for a module that cannot be run at all.
    """

    def __init__(
        self,
        model: Model,
        device: str | None = None,
        *,
        threshold: float = SATURATION_THRESHOLD,
    ) -> None:
        """Prepare to watch `model.program`, which is not run yet but to see which numbers of samples it takes."""
        require_initialised(unwrap(model.program))
        freed = free_batch(model)
        self.fixed_batch, module = freed.fixed_batch, freed.module
        self._device = _device_of(module) if device is None else _available(device)
        if model.streamed and self._device.type != "cpu":
            raise UsageError(f"--device {device}: a model whose weights are streamed runs on the CPU here")
        self._module = _on_device(module, self._device)
        self._threshold = threshold
        self._random = np.random.default_rng(SEED)
        self._watcher = Watcher(self._module)
        layers = model.layers if model.streamed else module_layers(self._module)
        self._static = {layer.name: layer for layer in layers}
        self._found: dict[str, NormLayer] = {}
        self._final: str | None = None
        self._dtype = model_dtype(self._module)
        # On a CPU convolutions and sums are faster with channels last; a model that minds is run as it was written.
        self._contiguous = self._device.type != "cpu"
        self._streamed = model.streamed
        if not model.streamed:
            keep_memory(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be watched."""
        return ()

    def layers(self) -> tuple[NormLayer, ...]:
        """Layers in the order in which they first ran, functional ones too; then, with a note, those that did not."""
        ran = [_completed(self._static.get(name), layer) for name, layer in self._found.items()]
        idle = [layer for name, layer in self._static.items() if name not in self._found]
        if self._found:
            note = NOT_SEEN if self._watcher.scripted else NOT_RUN
            idle = [replace(layer, notes=(*layer.notes, note)) for layer in idle]
        return (*ran, *idle)

    def observe(self, batch: Batch) -> Evidence:
        """What `run` sees, as sums alone."""
        return self.run(batch).evidence

    def run(self, batch: Batch) -> SeenBatch:
        """Pass E, and pass B where a BatchNorm with running statistics has two samples, or else an InstanceNorm one."""
        deployed, reference = self._run(batch, lambda: DeployedPass(self._threshold, batch.span, self._random))
        for name, layer in deployed.found.items():
            self._found.setdefault(name, layer)
        evidence = Evidence(
            samples=batch.size,
            batches=1,
            batch_size=batch.size,
            layers=deployed.layers,
            activations=_marked(deployed.activations, self._final),
        )
        of_samples = deployed.stored == {"instance_norm"}
        if not of_samples and (batch.size < 2 or "batch_norm" not in deployed.stored):
            return SeenBatch(evidence, reference, {})
        own, changed = self._run(batch, lambda: BatchPass(batch.together, of_samples=of_samples))
        both = replace(
            evidence,
            gap_samples=batch.size,
            layers=_with_own(deployed.layers, own.layers),
            outputs=compare_outputs(reference, changed, batch.whole),
        )
        return SeenBatch(both, reference, changed)

    def population(self, batch: Batch, *, batch_statistics: bool = True) -> Mapping[str, PopulationSums]:
        """Sums of every BatchNorm and InstanceNorm with running statistics: of pass B, or as deployed."""
        seen, _ = self._run(batch, lambda: PopulationPass(batch.together, batch_statistics=batch_statistics))
        for name, layer in seen.found.items():
            self._found.setdefault(name, layer)
        return dict(seen.sums)

    def points(self, batch: Batch) -> Mapping[Point, PointSums]:
        """Sums of the inputs, of what enters norms and activations, and of the outputs."""
        seen, outputs = self._run(batch, lambda: PointPass(batch.span))
        return {**input_points(batch), **seen.points, **array_points("output", outputs, batch.span)}

    def norm_rows(self, batch: Batch) -> Mapping[str, NormRows]:
        """The groups that the norms other than BatchNorm normalize, whole, by layer: for a few samples."""
        seen, _ = self._run(batch, lambda: RowsPass(batch.size))
        return dict(seen.rows)

    def outputs_under(self, batch: Batch, listener: Callable[[], Listener]) -> Outputs:
        """The outputs with a listener at every norm and activation, which may replace what a norm returns."""
        return self._run(batch, listener)[1]

    def outputs(
        self,
        batch: Batch,
        *,
        batch_statistics: bool = False,
        statistics: Mapping[str, ReplacedStatistics] | None = None,
    ) -> Outputs:
        """Outputs by name, on batch statistics in every BatchNorm, or on given ones in the named BatchNorm layers."""
        if batch_statistics:
            return self._run(batch, lambda: BatchPass(batch.span))[1]
        return self._run(batch, lambda: TrialPass(statistics or {}))[1]

    def _run(self, batch: Batch, listener: Any) -> tuple[Any, dict[str, Array]]:
        """A fresh listener after one forward, and the outputs."""
        if not self._contiguous:
            try:
                return self._forward(batch, listener(), torch.channels_last)
            except (RuntimeError, LayoutError):  # .view() of what is not contiguous, or a fault of the data: told next
                pass
        result = self._forward(batch, listener(), torch.contiguous_format)
        self._contiguous = True
        return result

    def _forward(
        self, batch: Batch, listener: Listener, memory_format: torch.memory_format
    ) -> tuple[Listener, dict[str, Array]]:
        args, kwargs = as_inputs(self._taken(batch), self._dtype, self._device, memory_format)
        by_stride = memory_format == torch.contiguous_format
        with untouched(self._module, self._device):
            try:
                with self._watcher.watching(listener, batch.size, by_stride=by_stride):
                    output = self._module(*args, **kwargs)
            except Exception as error:
                if not by_stride and isinstance(error, (RuntimeError, LayoutError)):
                    raise
                raise InputError(self._explained(error, batch)) from error
            self._final = self._watcher.final_activation(tensor for _, tensor in tensors(output))
            return listener, named_outputs(output)

    def _taken(self, batch: Batch) -> Batch:
        """Without the numbers beside the data that the forward has no use for."""
        return replace(batch, fixed=taken(self._module, batch.fixed)) if batch.fixed else batch

    def _explained(self, error: Exception, batch: Batch) -> str:
        shapes = ", ".join(f"{array.dtype} {tuple(array.shape)}" for array in batch.arrays)
        where = self._failed_in(error)
        reason = (" ".join(str(error).split()) or type(error).__name__)[:400]
        if self._streamed and "meta" in reason:
            reason += f"; {READ_FROM_OUTSIDE}"
        return f"the model failed on data of {shapes}{where}: {reason}"

    def _failed_in(self, error: BaseException) -> str:
        paths = {id(module): path for path, module in named_modules(self._module)}
        for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
            owner = frame.f_locals.get("self")
            if id(owner) in paths:
                return f" in {paths[id(owner)] or type(owner).__name__}"
        return ""


def _completed(static: NormLayer | None, seen: NormLayer) -> NormLayer:
    """What the module says, filled in with what its call said where the module does not know (TorchScript)."""
    if static is None:
        return seen
    if (
        static.class_name == "Module"
    ):  # of a torch.export program: it holds the parameters and knows nothing of their use
        return replace(seen, origin="module", num_batches_tracked=static.num_batches_tracked)
    missing = {
        name: getattr(seen, name)
        for name in ("eps", "momentum", "channels", "groups", "normalized_rank")
        if getattr(static, name) is None
    }
    return replace(static, notes=(*static.notes, *seen.notes), batch_statistics=seen.batch_statistics, **missing)


def _marked(activations: Mapping[str, ActivationSums], final: str | None) -> dict[str, ActivationSums]:
    """The activations, with the one whose output is the model's marked as such."""
    return {name: replace(sums, final=name == final) for name, sums in activations.items()}


def _with_own(layers: Mapping[str, LayerEvidence], own: Mapping[str, LayerEvidence]) -> dict[str, LayerEvidence]:
    both = {name: evidence + own.get(name, LayerEvidence()) for name, evidence in layers.items()}
    return both | {name: evidence for name, evidence in own.items() if name not in both}


def _device_of(module: nn.Module) -> torch.device:
    return next((value.device for value in _held(module)), torch.device("cpu"))


def _held(module: nn.Module) -> list[torch.Tensor]:
    """Its tensors, but for those that accelerate's hooks bring from elsewhere when they are used."""
    return [value for value in (*module.parameters(), *module.buffers()) if not value.is_meta]


def _available(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name} is not a device; use cpu, cuda, cuda:N or mps") from error
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= counts.get(device.type, 0):
        raise UsageError(f"--device {name} is not available here; use --device cpu")
    return device


def _on_device(module: nn.Module, device: torch.device) -> nn.Module:
    values = _held(module)
    if all(value.device.type == device.type and device.index in (None, value.device.index) for value in values):
        return module
    try:
        return copy.deepcopy(module).to(device)
    except Exception as error:
        raise InputError(f"the model cannot be copied to {device}: {error}") from error
