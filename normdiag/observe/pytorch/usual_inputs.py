"""What a PyTorch model can be run on when nobody says: its configuration, its first layer, and the sizes in use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from normdiag.data.noise import draw, names_of
from normdiag.data.preprocess import numpy_dtype
from normdiag.data.usual_sizes import GUESSED, usual_inputs_of
from normdiag.models.pytorch.arrays import Array
from normdiag.models.pytorch.layers import named_modules, unwrap
from normdiag.observe.pytorch.guard import untouched
from normdiag.observe.pytorch.values import as_inputs, model_dtype, named_outputs
from normdiag.records import Batch, InputSpec

CPU = torch.device("cpu")
# Sides of images: those of ImageNet and CIFAR nets first, then MNIST's and what others are built for.
SIDES = (224, 32, 28, 64, 128, 256, 299, 384, 512, 96, 16)
LENGTHS = (1024, 128, 4096, 16_000, 64)
VOLUMES = ((16, 112, 112), (8, 64, 64), (32, 32, 32))
TOKENS = 16
# The layer that is registered first need not be the one that runs first.
FIRST_LAYERS = 3
_BEGINNINGS: Mapping[type[nn.Module], Callable[[Any], list[tuple[int, ...]]]] = {
    nn.Conv2d: lambda layer: [(layer.in_channels, side, side) for side in SIDES],
    nn.Conv1d: lambda layer: [(layer.in_channels, length) for length in LENGTHS],
    nn.Conv3d: lambda layer: [(layer.in_channels, *sizes) for sizes in VOLUMES],
    nn.Linear: lambda layer: [(layer.in_features,), (TOKENS, layer.in_features)],
    nn.RNNBase: lambda layer: [(TOKENS, layer.input_size)],
    nn.BatchNorm1d: lambda layer: [(layer.num_features,), (layer.num_features, TOKENS)],
    nn.BatchNorm2d: lambda layer: [(layer.num_features, side, side) for side in SIDES],
    nn.Embedding: lambda layer: [(TOKENS,)],
}
_CONFIGS = ("pretrained_cfg", "default_cfg")


def usual_inputs(module: nn.Module, suggested: Sequence[InputSpec] = ()) -> tuple[tuple[InputSpec, ...], str] | None:
    """The first inputs on which the module runs without an error, and where their shapes come from; None without any.

    Tried are those `suggested`, the size in the module's own configuration (timm keeps one), and for the layers that
    come first the usual sizes. The module is left as it was.
    """
    found = unwrap(module)
    free = any(None in (spec.shape or ())[1:] for spec in suggested)
    reason = GUESSED if free else "as its file says"
    candidates = [(specs, reason) for specs in usual_inputs_of(suggested)]
    for specs, reason in (*candidates, *_configured(found), *_by_layers(found)):
        if runs(found, specs):
            return specs, reason
    return None


def _configured(module: nn.Module) -> Iterator[tuple[tuple[InputSpec, ...], str]]:
    """timm's `pretrained_cfg`, with the channels that the first layer takes."""
    for name in _CONFIGS:
        config = getattr(module, name, None)
        size = config.get("input_size") if isinstance(config, dict) else None
        if isinstance(size, (tuple, list)) and len(size) == 3 and all(type(n) is int and 0 < n <= 4096 for n in size):
            first = next((each for each in module.modules() if isinstance(each, nn.Conv2d)), None)
            channels = first.in_channels if first is not None else size[0]
            yield (_spec((channels, *size[1:])),), f"as its {name} says"
            yield (_spec(tuple(size)),), f"as its {name} says"
            return


def _by_layers(module: nn.Module) -> Iterator[tuple[tuple[InputSpec, ...], str]]:
    layers = ((path, each, shapes) for path, each in named_modules(module) if (shapes := _shapes(each)))
    for path, layer, shapes in islice(layers, FIRST_LAYERS):
        dtype = "int64" if isinstance(layer, nn.Embedding) else "float32"
        for shape in shapes:
            yield (_spec(shape, dtype),), f"a usual size for {path or type(layer).__name__} on which it runs"


def _shapes(layer: nn.Module) -> list[tuple[int, ...]]:
    """Shapes of one sample for a model that begins with this layer."""
    return next((shapes(layer) for kind, shapes in _BEGINNINGS.items() if isinstance(layer, kind)), [])


def _spec(shape: tuple[int, ...], dtype: str = "float32") -> InputSpec:
    return InputSpec("", dtype, (None, *shape))


def runs(module: nn.Module, specs: Sequence[InputSpec]) -> bool:
    """Whether it takes inputs of these shapes, two samples of them where their number is free."""
    batch = made_up_batch([with_batch(spec, (spec.shape or (None,))[0] or 2) for spec in specs])
    return batch is not None and bool(outputs_of(module, batch))


def with_batch(spec: InputSpec, size: int) -> InputSpec:
    """The same for so many samples."""
    return replace(spec, shape=(size, *(spec.shape or ())[1:]))


def made_up_batch(specs: Sequence[InputSpec]) -> Batch | None:
    """Seeded values of these shapes; None where a size is not known."""
    shapes = [[size for size in spec.shape or () if size is not None] for spec in specs]
    if any(len(shape) < len(spec.shape or (None,)) for shape, spec in zip(shapes, specs, strict=True)):
        return None
    rng = np.random.default_rng(0)
    arrays = tuple(
        draw(rng, numpy_dtype(spec.dtype) or np.dtype(np.float32), tuple(shape))
        for shape, spec in zip(shapes, specs, strict=True)
    )
    return Batch(arrays, names_of(specs))


def outputs_of(module: nn.Module, batch: Batch) -> dict[str, Array]:
    """What the module gives for a batch; nothing where it does not run, whatever it raises."""
    device = next((each.device for each in (*module.parameters(), *module.buffers())), CPU)
    try:
        args, kwargs = as_inputs(batch, model_dtype(module), device, torch.contiguous_format)
        with untouched(module, device):
            return named_outputs(module(*args, **kwargs))
    except Exception:
        return {}
