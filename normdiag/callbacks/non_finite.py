"""Where a training went to NaN: the first layer that values that are not finite reached, and the step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from normdiag.errors import NormdiagError
from normdiag.models.pytorch.layers import named_modules, norm_kind
from normdiag.wording import abridged

# A GPU is asked only so often: the answer would have to be waited for.
ASK_EVERY = 50
REMEDY = "go back to a checkpoint before it, and look at the data and the learning rate of that step"


class NonFiniteError(NormdiagError, FloatingPointError):
    """The training cannot recover: a normalization layer holds values that are not finite."""


@dataclass(frozen=True, eq=False)
class _Group:
    """Tensors of one device and dtype, for each the name of its layer and whether it is a running statistic.

    `first` (N,) int64 over all their values is the step at which a value was not finite for the first time, else -1.
    `flat` are the tensors again, in one dimension, where they are looked at without waiting: the product of each with
    itself takes least time of all that tells.
    """

    names: tuple[str, ...]
    stored: tuple[bool, ...]
    tensors: tuple[Tensor, ...]
    first: Tensor
    flat: tuple[Tensor, ...]

    @property
    def waits(self) -> bool:
        """Whether an answer has to be waited for."""
        return self.first.device.type != "cpu"

    def see(self, step: int) -> bool:
        """Keep the step for what is not finite now, and say whether anything may be. On a GPU nothing is waited for."""
        suspicious = self.waits or not self._sums_are_finite()
        if suspicious:
            with torch.no_grad():
                values = torch.cat([each.flatten() for each in self.tensors])
                self.first.masked_fill_(~torch.isfinite(values) & (self.first < 0), step)
        return suspicious

    def _sums_are_finite(self) -> bool:
        """One look at all values together; a sum may overflow where none of them is infinite."""
        if self.flat:
            return all(math.isfinite(each.dot(each)) for each in self.flat)
        return all(math.isfinite(each.sum()) for each in self.tensors)

    def read(self, *, stored: bool) -> Iterator[tuple[str, int]]:
        """The layers whose statistics, or parameters, are not finite, each with its first step; this waits."""
        parts = torch.split(self.first.cpu(), [each.numel() for each in self.tensors])
        for name, kind, part in zip(self.names, self.stored, parts, strict=True):
            if kind == stored and (part >= 0).any():
                yield name, int(part[part >= 0].min())


class NonFiniteWatch:
    """Looks at the running variances and weights of all normalization layers after every step.

    That is a few small kernels, and no answer is waited for but every ASK_EVERY steps on a GPU. What is not finite
    enters the statistics of the layers after its origin at once, and all weights with the next step of the optimizer:
    only by the step at which each layer has it can the origin be told.
    """

    def __init__(self, module: nn.Module) -> None:
        """Watch the layers as they are now; where tensors are replaced later, make another."""
        norms = [(path or "the model", child) for path, child in named_modules(module) if norm_kind(child)]
        self._groups = _groups(norms)
        self._layers = sum(isinstance(getattr(child, "running_var", None), Tensor) for _, child in norms)
        self._seen = 0

    def see(self, step: int) -> str | None:
        """What went wrong where, once it is known; None as long as all is finite or was not asked yet."""
        suspicious = [each.see(step) for each in self._groups]
        self._seen += 1
        wait = any(each.waits for each in self._groups) and self._seen % ASK_EVERY
        return None if wait or not any(suspicious) else self.found()

    def found(self) -> str | None:
        """The same, asked now."""
        if not any(bool((each.first >= 0).any()) for each in self._groups):
            return None
        statistics, parameters = self._earliest(stored=True), self._earliest(stored=False)
        if statistics and (not parameters or statistics[0] <= parameters[0]):
            step, names = statistics
            return (
                f"step {step}: values that are not finite reached {names[0]} first, and {len(names)} of "
                f"{self._layers} layers with running statistics in that step: what comes before it made them; {REMEDY}"
            )
        assert parameters
        step, names = parameters
        return (
            f"step {step}: the parameters of {abridged(names)} are not finite, and no running statistics showed it "
            f"before: the loss, its gradient or the optimizer made them so; {REMEDY}"
        )

    def _earliest(self, *, stored: bool) -> tuple[int, list[str]] | None:
        """The first step at which a layer was not finite, and all that were so then, in the order of the modules."""
        known = [pair for each in self._groups for pair in each.read(stored=stored)]
        if not known:
            return None
        first = min(step for _, step in known)
        return first, list(dict.fromkeys(name for name, step in known if step == first))


def _groups(norms: Iterable[tuple[str, nn.Module]]) -> tuple[_Group, ...]:
    """A mean that is not finite makes the variance so too, and a gradient that is not, weight and bias alike."""
    found: dict[tuple[torch.device, torch.dtype], list[tuple[str, bool, Tensor]]] = {}
    for path, module in norms:
        for attribute in ("running_var", "weight"):
            value = getattr(module, attribute, None)
            if isinstance(value, Tensor) and value.is_floating_point() and not value.is_meta and value.numel():
                entry = (path, attribute == "running_var", value.detach())
                found.setdefault((value.device, value.dtype), []).append(entry)
    return tuple(_group(device, entries) for (device, _), entries in found.items())


def _group(device: torch.device, entries: Sequence[tuple[str, bool, Tensor]]) -> _Group:
    names, stored, tensors = zip(*entries, strict=True)
    total = sum(each.numel() for each in tensors)
    first = torch.full((total,), -1, dtype=torch.int64, device=device)
    seen = device.type == "cpu" and all(each.is_contiguous() for each in tensors)
    return _Group(names, stored, tensors, first, tuple(each.view(-1) for each in tensors) if seen else ())
