"""Folding small modules, one for each way of writing a norm or a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from normdiag.folding.checked import checked_plan
from normdiag.folding.options import ExportOptions
from normdiag.folding.pytorch import TorchFoldable, TorchFolded
from normdiag.records import Batch, ModelInfo
from normdiag.records.model import Array
from tests.nets.small import (
    ConvBN,
    Counting,
    TwoInputs,
    branches,
    frozen,
    functional,
    overwriting,
    parametrized,
    products,
    shared_conv,
    tied,
    wrapped,
)
from tests.observe.pytorch.helpers import settled

INFO = ModelInfo(None, "module", "pytorch", None, None, None)


def data(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def resized(batch: Batch, size: int) -> Batch:
    return Batch(tuple(np.resize(array, (size, *array.shape[1:])) for array in batch.arrays), batch.names)


def foldable(module: Any, batch: Batch, options: ExportOptions | None = None) -> TorchFoldable:
    return TorchFoldable(module, INFO, batch, options)


def folded(
    module: Any, batch: Batch, norms: Sequence[str] = ("batch",), options: ExportOptions | None = None
) -> tuple[TorchFoldable, TorchFolded]:
    original = foldable(module, batch, options)
    return original, original.fold(checked_plan(original.graph, norms=frozenset(norms)))


def relative(found: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
    """The largest difference over the largest value, of the worst output; the names must be the same."""
    assert found.keys() == expected.keys()
    pairs = ((np.asarray(found[name], np.float64), np.asarray(expected[name], np.float64)) for name in expected)
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in pairs)


IMAGES = Batch((data(3, 3, 10, 10),))
ROWS = Batch((data(3, 6),))
BOTH = Batch((data(3, 6), data(3, 3, 10, 10)))
# Module, batch, norms, how many go.
CASES: dict[str, tuple[Any, Batch, int]] = {
    "conv": (ConvBN, IMAGES, 2),
    "parametrized": (parametrized, ROWS, 4),
    "shared conv": (shared_conv, IMAGES, 2),
    "tied": (tied, ROWS, 1),
    "functional": (functional, IMAGES, 1),
    "frozen": (frozen, IMAGES, 1),
    "wrapped": (wrapped, IMAGES, 1),
    "two inputs": (TwoInputs, BOTH, 2),
    "products": (products, ROWS, 3),
    "branches": (branches, IMAGES, 1),
    "counting": (Counting, IMAGES, 1),
    "overwriting": (overwriting, IMAGES, 1),
    "before": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), IMAGES, 1),
    "shift stays": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1)), IMAGES, 1),
    "instance": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
        IMAGES,
        1,
    ),
    "transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 3, groups=1, bias=False), nn.BatchNorm2d(4)),
        IMAGES,
        1,
    ),
    "two norms": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)), IMAGES, 2),
    "nothing": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.ReLU()), IMAGES, 0),
}


@cache
def folded_case(name: str) -> tuple[nn.Module, Batch, TorchFoldable, TorchFolded]:
    """The module, its batch, original and folded: exported once for all tests that only look."""
    module, batch = case(name)
    return module, batch, *folded(module, batch)


def case(name: str) -> tuple[nn.Module, Batch]:
    torch.manual_seed(0)
    build, batch, _ = CASES[name]
    return settled(build()), batch
