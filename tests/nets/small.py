"""Small networks, one for each way of writing a norm or a linear layer, on images (N, 3, H, W) or rows (N, 6)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from tests.nets.net import Net
from tests.nets.norms_by_hand import FrozenBatchNorm2d


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


def parametrized() -> nn.Module:
    """Weights computed by parametrizations, and by the hooks that came before them."""

    def forward(s: Net, x: Tensor) -> Tensor:
        for layer, norm in zip((s.a, s.b, s.c, s.d), s.norms, strict=True):
            x = norm(layer(x)).sigmoid()
        return x

    now = {"a": parametrizations.weight_norm(nn.Linear(6, 5))}
    now["b"] = parametrizations.spectral_norm(nn.Linear(5, 5, bias=False))
    before = {"c": weight_norm(nn.Linear(5, 5)), "d": spectral_norm(nn.Linear(5, 4))}
    return Net(forward, **now, **before, norms=nn.ModuleList([nn.BatchNorm1d(size) for size in (5, 5, 5, 4)]))


def shared_conv() -> nn.Module:
    """One convolution that runs twice, before two norms."""
    norms = {"bn1": nn.BatchNorm2d(3), "bn2": nn.BatchNorm2d(3)}
    return Net(lambda s, x: s.bn2(s.conv(s.bn1(s.conv(x)).relu())), conv=nn.Conv2d(3, 3, 3, padding=1), **norms)


def tied() -> nn.Module:
    """Two layers with one weight, of which one has a norm; and a second name for a layer."""
    a, b = nn.Linear(6, 6), nn.Linear(6, 6)
    b.weight = a.weight
    return Net(lambda s, x: s.bn(s.a(x)).relu() + s.b(x).sigmoid(), a=a, b=b, bn=nn.BatchNorm1d(6), again=a)


def functional() -> nn.Module:
    """No modules at all."""
    weights = {"w": nn.Parameter(torch.randn(4, 3, 3, 3))}
    weights |= {name: nn.Parameter(torch.randn(4)) for name in ("k", "gamma", "beta")}
    statistics = {"mean": torch.randn(4), "var": torch.rand(4) + 0.5}
    return Net(
        lambda s, x: F.batch_norm(F.conv2d(x, s.w, s.k), s.mean, s.var, s.gamma, s.beta), **weights, **statistics
    )


def frozen() -> nn.Module:
    """A norm of buffers and plain arithmetic between two convolutions."""
    parts = {"conv": nn.Conv2d(3, 4, 3, bias=False), "bn": FrozenBatchNorm2d(4), "last": nn.Conv2d(4, 4, 1)}
    return Net(lambda s, x: s.last(s.bn(s.conv(x)).relu()), **parts)


class NormAct(nn.BatchNorm2d):
    """A norm and an activation in one module, as in timm."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu_()


def wrapped() -> nn.Module:
    """A norm and an activation in one module, as in timm."""
    return Net(lambda s, x: s.norm(s.conv(x)), conv=nn.Conv2d(3, 4, 3), norm=NormAct(4))


def products() -> nn.Module:
    """MatMul and addmm with parameters, one of them used three times."""

    def forward(s: Net, x: Tensor) -> tuple[Tensor, ...]:
        products = x @ s.w, torch.addmm(s.k, x, s.w * 2, beta=0.5, alpha=3.0), torch.mm(x, s.w) + s.k
        return tuple(norm(product) for norm, product in zip(s.norms, products, strict=True))

    weights = {"w": nn.Parameter(torch.randn(6, 5)), "k": nn.Parameter(torch.randn(5))}
    return Net(forward, **weights, norms=nn.ModuleList([nn.BatchNorm1d(5) for _ in range(3)]))


def branches() -> nn.Module:
    """A norm after a sum whose branches are convolutions and a constant."""
    parts = {"left": nn.Conv2d(3, 4, 1), "right": nn.Conv2d(3, 4, 3, padding=1)}
    offset = nn.Parameter(torch.randn(1, 4, 1, 1))
    return Net(lambda s, x: s.bn(s.left(x) + s.right(x) + s.offset), **parts, offset=offset, bn=nn.BatchNorm2d(4))


def overwriting() -> nn.Module:
    """A norm into the convolution after it, with a write in between: its input must not see the write."""

    def forward(s: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.relu()
        y = s.bn(x)
        y *= s.factor
        return s.conv(y), x + 1

    return Net(forward, bn=nn.BatchNorm2d(3), conv=nn.Conv2d(3, 4, 1), factor=nn.Parameter(torch.randn(3, 1, 1)))


class TwoInputs(nn.Module):
    """Two named inputs; outputs in a dict, with a tuple, a list, an input, a number and None among them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bn = nn.Linear(6, 6), nn.BatchNorm1d(6)
        self.conv, self.bn2 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, ids: Tensor, img: Tensor) -> dict[str, Any]:
        left = self.bn(self.fc(ids))
        return {"left": left, "more": (self.bn2(self.conv(img)), [ids, 3, None]), "left again": left}


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
