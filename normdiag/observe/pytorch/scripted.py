"""What TorchScript's C++ makes of an InstanceNorm before Python can see it, undone.

aten::instance_norm repeats its parameters once per sample and calls batch_norm on one sample of N * C channels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from normdiag.observe.pytorch.norms import NormCall

aten = torch.ops.aten


class Disguises:
    """Remembers which tensors are repeated parameters, for the length of one forward of `samples` samples."""

    def __init__(self, samples: int) -> None:
        """Nothing repeated yet."""
        self._samples = samples
        self._repeated: dict[int, tuple[Tensor, Tensor]] = {}  # by address; both are kept, so that no address returns

    def note(self, key: Any, args: tuple[Any, ...], result: Any) -> None:
        """Look at a call's result: a one-dimensional tensor repeated?"""
        if key is aten.repeat and isinstance(result, Tensor) and result.dim() == 1 and result.numel():
            self._repeated[result.data_ptr()] = (result, args[0])

    def undone(self, call: NormCall) -> NormCall:
        """The InstanceNorm that a BatchNorm call stands for, or the call itself."""
        parameters = {name: getattr(call, name) for name in ("weight", "bias", "running_mean", "running_var")}
        original = {name: self._original(value) for name, value in parameters.items()}
        known = next((value for value in original.values() if value is not None), None)
        x = call.input
        if call.kind != "batch_norm" or x.shape[0] != 1 or x.dim() < 3:
            return call
        if known is None and (not call.batch_statistics or any(value is not None for value in parameters.values())):
            return call
        channels = known.numel() if known is not None else max(1, x.shape[1] // self._samples)
        if x.shape[1] % channels:
            return call
        changes: dict[str, Any] = {name: value for name, value in original.items() if value is not None}
        return replace(call, kind="instance_norm", input=x.reshape(-1, channels, *x.shape[2:]), **changes)

    def _original(self, value: Tensor | None) -> Tensor | None:
        return None if value is None else self._repeated.get(value.data_ptr(), (None, None))[1]
