"""Batches as what a forward takes, and what it returns as named arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from normdiag.errors import InputError
from normdiag.models.pytorch.arrays import Array, to_numpy, to_tensor
from normdiag.records import Batch, is_ragged


def model_dtype(model: nn.Module) -> torch.dtype:
    """The dtype of the model's first floating parameter or buffer; float32 without any."""
    for source in (model.parameters(), model.buffers()):
        for value in source:
            if value.is_floating_point():
                return value.dtype
    return torch.float32


def as_inputs(
    batch: Batch, dtype: torch.dtype, device: torch.device, memory_format: torch.memory_format
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments. A sole array goes in by position, whatever its name, if there is nothing else.

    Floating arrays take the model's dtype; images (N, C, H, W) the memory format. The arrays are copied. Numbers go in
    as they are, and arrays of one value for each sample, of sizes of their own, as a list, in dicts with a sample key.
    """
    convert = partial(_as_input, dtype=dtype, device=device, memory_format=memory_format)
    wrap = (lambda value: value) if batch.sample_key is None else (lambda value: {batch.sample_key: value})
    values = tuple(
        [wrap(convert(each)) for each in array] if is_ragged(array) else convert(array) for array in batch.arrays
    )
    fixed = {name: convert(value) if hasattr(value, "dtype") else value for name, value in batch.fixed.items()}
    if batch.names is None or (len(values) == 1 and not fixed):
        return values, fixed
    return (), {**dict(zip(batch.names, values, strict=True)), **fixed}


def _as_input(array: Array, dtype: torch.dtype, device: torch.device, memory_format: torch.memory_format) -> Tensor:
    try:
        value = to_tensor(array)
    except TypeError as error:
        raise InputError(f"the data has dtype {array.dtype}, which PyTorch cannot take as an input") from error
    if value.is_floating_point():
        value = value.to(dtype)
    if value.dim() == 4 and value.is_floating_point():
        value = value.contiguous(memory_format=memory_format)
    return value.to(device)


def named_outputs(output: Any) -> dict[str, Array]:
    """Every tensor in a forward's return value, by keys, field names and positions joined with dots."""
    return {name or "output": to_numpy(value) for name, value in tensors(output)}


def tensors(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """The plain tensors in a forward's return value, and where they are in it."""
    if isinstance(value, Tensor):
        if not (value.is_sparse or value.is_quantized or value.is_complex() or value.is_meta):
            yield name, value
    elif depth < 8:  # deep enough for any model's output, and an end to one that contains itself
        for key, child in _children(value, name):
            yield from tensors(child, key, depth + 1)


def _children(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        items = [(str(key), child) for key, child in value.items()]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif isinstance(value, (tuple, list)):
        fields = getattr(value, "_fields", None)  # of a named tuple
        labels = fields or [str(index) if name else f"output_{index}" for index in range(len(value))]
        items = list(zip(labels, value, strict=True))
    else:
        return
    for key, child in items:
        yield (f"{name}.{key}" if name else key), child
