"""Small modules, one per way of writing a norm or a layer, and folding them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from normdiag.folding.checked import checked_plan
from normdiag.folding.options import ExportOptions
from normdiag.folding.pytorch import TorchFoldable, TorchFolded
from normdiag.records import Batch, ModelInfo
from normdiag.records.model import Array
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


class ConvBN(nn.Module):
    """The usual: no bias before the norm, an in-place activation after it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(4, 5)
        self.bn2 = nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.fc(self.act(self.bn(self.conv(x))).mean((2, 3))))


class Parametrized(nn.Module):
    """Weights computed by parametrizations, and by the hooks that came before them."""

    def __init__(self) -> None:
        super().__init__()
        self.a = parametrizations.weight_norm(nn.Linear(6, 5))
        self.b = parametrizations.spectral_norm(nn.Linear(5, 5, bias=False))
        self.c = weight_norm(nn.Linear(5, 5))
        self.d = spectral_norm(nn.Linear(5, 4))
        self.norms = nn.ModuleList([nn.BatchNorm1d(size) for size in (5, 5, 5, 4)])

    def forward(self, x: Tensor) -> Tensor:
        for layer, norm in zip((self.a, self.b, self.c, self.d), self.norms, strict=True):
            x = norm(layer(x)).sigmoid()
        return x


class SharedConv(nn.Module):
    """One convolution that runs twice, before two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.bn1, self.bn2 = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv(self.bn1(self.conv(x)).relu()))


class Tied(nn.Module):
    """Two layers with one weight, of which one has a norm; and a second name for a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = self.a.weight
        self.bn = nn.BatchNorm1d(6)
        self.again = self.a

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.a(x)).relu() + self.b(x).sigmoid()


class Functional(nn.Module):
    """No modules at all."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.k = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.randn(4))
        self.gamma, self.beta = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4))
        self.register_buffer("mean", torch.randn(4))
        self.register_buffer("var", torch.rand(4) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(F.conv2d(x, self.w, self.k), self.mean, self.var, self.gamma, self.beta)


class FrozenNorm(nn.Module):
    """As torchvision's FrozenBatchNorm2d: buffers and plain arithmetic."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, value in (("weight", torch.randn(channels)), ("bias", torch.randn(channels))):
            self.register_buffer(name, value)
        self.register_buffer("running_mean", torch.randn(channels))
        self.register_buffer("running_var", torch.rand(channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        w, b, mean, var = (
            value.reshape(1, -1, 1, 1) for value in (self.weight, self.bias, self.running_mean, self.running_var)
        )
        scale = w * (var + 1e-5).rsqrt()
        return x * scale + (b - mean * scale)


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.last = nn.Conv2d(3, 4, 3, bias=False), FrozenNorm(4), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.bn(self.conv(x)).relu())


class NormAct(nn.BatchNorm2d):
    """A norm and an activation in one module, as in timm."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu_()


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), NormAct(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class TwoInputs(nn.Module):
    """Two named inputs; outputs in a dict, with a tuple, a list, an input, a number and None among them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bn = nn.Linear(6, 6), nn.BatchNorm1d(6)
        self.conv, self.bn2 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, ids: Tensor, img: Tensor) -> dict[str, Any]:
        left = self.bn(self.fc(ids))
        return {"left": left, "more": (self.bn2(self.conv(img)), [ids, 3, None]), "left again": left}


class Products(nn.Module):
    """MatMul and addmm with parameters, one of them used three times."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.k = nn.Parameter(torch.randn(6, 5)), nn.Parameter(torch.randn(5))
        self.norms = nn.ModuleList([nn.BatchNorm1d(5) for _ in range(3)])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        products = x @ self.w, torch.addmm(self.k, x, self.w * 2, beta=0.5, alpha=3.0), torch.mm(x, self.w) + self.k
        return tuple(norm(product) for norm, product in zip(self.norms, products, strict=True))


class Branches(nn.Module):
    """A norm after a sum whose branches are convolutions and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1)
        self.offset = nn.Parameter(torch.randn(1, 4, 1, 1))
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.left(x) + self.right(x) + self.offset)


class Counting(nn.Module):
    """A forward that writes to a buffer and to attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.register_buffer("calls", torch.zeros(1))
        self.seen: Any = 0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls.add_(1)
        self.seen = self.seen + 1
        return self.bn(self.conv(x)), self.calls + 1


class Overwriting(nn.Module):
    """A norm into the convolution after it, with a write in between: its input must not see the write."""

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)
        self.factor = nn.Parameter(torch.randn(3, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.relu()
        y = self.bn(x)
        y *= self.factor
        return self.conv(y), x + 1


IMAGES = Batch((data(3, 3, 10, 10),))
ROWS = Batch((data(3, 6),))
BOTH = Batch((data(3, 6), data(3, 3, 10, 10)))
# Module, batch, norms, how many go.
CASES: dict[str, tuple[Any, Batch, int]] = {
    "conv": (ConvBN, IMAGES, 2),
    "parametrized": (Parametrized, ROWS, 4),
    "shared conv": (SharedConv, IMAGES, 2),
    "tied": (Tied, ROWS, 1),
    "functional": (Functional, IMAGES, 1),
    "frozen": (Frozen, IMAGES, 1),
    "wrapped": (Wrapped, IMAGES, 1),
    "two inputs": (TwoInputs, BOTH, 2),
    "products": (Products, ROWS, 3),
    "branches": (Branches, IMAGES, 1),
    "counting": (Counting, IMAGES, 1),
    "overwriting": (Overwriting, IMAGES, 1),
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
