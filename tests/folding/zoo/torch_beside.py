"""PyTorch: norms beside convolutions of the same tensor, as RepVGG, MobileOne and FastViT have them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.folding.zoo.torch_case import Zoo
from tests.nets.net import Net

ZOO = Zoo()
IMAGE = (2, 4, 7, 6)


def conv_norm(kernel: int, groups: int = 1, channels: int = 4, **options: Any) -> nn.Sequential:
    options = {"padding": kernel // 2, "bias": False} | options
    return nn.Sequential(nn.Conv2d(channels, channels, kernel, groups=groups, **options), nn.BatchNorm2d(channels))


class MobileOne(nn.Module):
    """As timm writes it: branches added to 0, one after the other."""

    def __init__(self, branches: int, kernel: int = 3, groups: int = 4) -> None:
        super().__init__()
        self.identity, self.scale = nn.BatchNorm2d(4), conv_norm(1, groups)
        self.kernels = nn.ModuleList(conv_norm(kernel, groups) for _ in range(branches))

    def forward(self, x: Tensor) -> Tensor:
        out = self.scale(x) + 0
        out = out + self.identity(x)
        for each in self.kernels:
            out += each(x)
        return out


class RepMixer(nn.Module):
    """FastViT's mixer of tokens, with its scale for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mixer = nn.BatchNorm2d(4), MobileOne(1)
        self.factor = nn.Parameter(torch.randn(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.factor * (self.mixer(x) - self.norm(x))


def repvgg(**options: Any) -> nn.Module:
    return Net(
        lambda s, x: torch.relu(s.dense(x) + s.point(x) + s.identity(x)),
        dense=conv_norm(3, **options),
        point=conv_norm(1, groups=options.get("groups", 1)),
        identity=nn.BatchNorm2d(4),
    )


def beside(layer: nn.Module) -> nn.Module:
    return Net(lambda s, x: s.layer(x) + 1 * s.norm(x), layer=layer, norm=nn.BatchNorm2d(4))


ZOO.add("repvgg", repvgg, IMAGE, folded=3, left="add")
ZOO.add("repvgg_in_groups", lambda: repvgg(groups=2), IMAGE, folded=3, left="add")
ZOO.add("mobile_one", lambda: MobileOne(2), IMAGE, folded=4, left="add add|add add add")
ZOO.add("fast_vit", RepMixer, IMAGE, folded=4, left="add add|add mul add|add add mul add|mul add add")
ZOO.add("dilated", lambda: beside(nn.Conv2d(4, 4, 3, padding=2, dilation=2)), IMAGE)
ZOO.add("same", lambda: beside(nn.Conv2d(4, 4, (2, 3), padding="same")), IMAGE)
ZOO.add(
    "one_dimension",
    lambda: Net(
        lambda s, x: s.layer(x) - s.norm(x), layer=nn.Conv1d(4, 4, 5, padding=2, bias=False), norm=nn.BatchNorm1d(4)
    ),
    (2, 4, 9),
)
ZOO.add(
    "strided",
    lambda: Net(
        lambda s, x: s.layer(x) + s.norm(x)[:, :, ::2, ::2], layer=conv_norm(3, stride=2), norm=nn.BatchNorm2d(4)
    ),
    IMAGE,
    folded=1,
    left="batch_norm add",
    refused=("also used by",),
)
ZOO.add(
    "transposed",
    lambda: beside(nn.ConvTranspose2d(4, 4, 3, padding=1)),
    IMAGE,
    folded=0,
    left="batch_norm mul add",
    refused=("also used by",),
)
