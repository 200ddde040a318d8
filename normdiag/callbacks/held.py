"""The batches that a model is looked at with: the same ones every time, so that what changes is the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from normdiag.callbacks.undisturbed import undisturbed
from normdiag.data.items import as_batches, is_array, to_batch

# Batches of few samples are many for the same number of samples, and a look at each costs as much as a step.
ENOUGH_BATCHES, LEAST_SAMPLES = 4, 32


class HeldBatches:
    """Copies of the first batches, on the CPU, until there are `samples` of them or enough batches."""

    def __init__(self, samples: int, batches: Iterable[Any] | None = None) -> None:
        """Hold some of `batches`, which are anything that `normdiag.inspect` takes; or those that are offered."""
        self._samples = samples
        self.batches: list[Any] = []
        self.size = 0
        if batches is not None:
            whole = is_array(batches) or isinstance(batches, Mapping) or not isinstance(batches, Iterable)
            with undisturbed():
                for batch in as_batches(batches, source="the held batches") if whole else batches:
                    self.offer(batch)
                    if self.full:
                        break

    @property
    def full(self) -> bool:
        """Whether no more are needed."""
        enough = len(self.batches) >= ENOUGH_BATCHES and self.size >= LEAST_SAMPLES
        return enough or self.size >= self._samples

    def offer(self, item: Any) -> None:
        """Keep a batch in the form in which it is given, unless there are enough. Raises InputError as `inspect` does.

        The last one may hold more samples than are looked at.
        """
        if not self.full:
            self.size += _size(item)
            self.batches.append(_copied(item))


def _size(item: Any) -> int:
    """Its number of samples; of a list of images, as detectors take it, that of its images."""
    if isinstance(item, tuple | list) and item and isinstance(item[0], list):
        return len(item[0])
    return to_batch(item, source="the held batches").size


def _copied(item: Any) -> Any:
    """The same, with arrays and tensors that nobody else can change."""
    if isinstance(item, Tensor):
        return item.detach().cpu().clone()
    if isinstance(item, Mapping):
        return {name: _copied(value) for name, value in item.items()}
    if isinstance(item, tuple | list):
        return [_copied(each) for each in item] if isinstance(item, list) else tuple(map(_copied, item))
    return np.array(item) if isinstance(item, np.ndarray) else item
