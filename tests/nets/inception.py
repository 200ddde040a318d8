"""Inception v3 as torchvision builds it (Szegedy et al. 2015), without its auxiliary head and narrow: 94 BatchNorm."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SHARE = 8


class Basic(nn.Module):
    """Convolution, norm with the eps of the paper, ReLU. Channels are given as in the paper."""

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int] = 1, **options: object) -> None:
        super().__init__()
        inputs = inputs if inputs == 3 else inputs // SHARE
        self.conv = nn.Conv2d(inputs, outputs // SHARE, kernel, bias=False, **options)  # type: ignore[arg-type]
        self.bn = nn.BatchNorm2d(outputs // SHARE, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)), inplace=True)


def row(inputs: int, outputs: int, length: int = 7) -> Basic:
    return Basic(inputs, outputs, (1, length), padding=(0, length // 2))


def column(inputs: int, outputs: int, length: int = 7) -> Basic:
    return Basic(inputs, outputs, (length, 1), padding=(length // 2, 0))


class Branches(nn.Module):
    """Branches side by side, joined along the channels; `pool` is what the last one begins with."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def pooled(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(3, 1, 1), Basic(inputs, outputs))


def block_a(inputs: int, pool: int) -> nn.Module:
    five = nn.Sequential(Basic(inputs, 48), Basic(48, 64, 5, padding=2))
    three = nn.Sequential(Basic(inputs, 64), Basic(64, 96, 3, padding=1), Basic(96, 96, 3, padding=1))
    return Branches(Basic(inputs, 64), five, three, pooled(inputs, pool))


def block_b(inputs: int) -> nn.Module:
    three = nn.Sequential(Basic(inputs, 64), Basic(64, 96, 3, padding=1), Basic(96, 96, 3, stride=2))
    return Branches(Basic(inputs, 384, 3, stride=2), three, nn.MaxPool2d(3, 2))


def block_c(c: int) -> nn.Module:
    seven = nn.Sequential(Basic(768, c), row(c, c), column(c, 192))
    twice = nn.Sequential(Basic(768, c), column(c, c), row(c, c), column(c, c), row(c, 192))
    return Branches(Basic(768, 192), seven, twice, pooled(768, 192))


def block_d() -> nn.Module:
    three = nn.Sequential(Basic(768, 192), Basic(192, 320, 3, stride=2))
    seven = nn.Sequential(Basic(768, 192), row(192, 192), column(192, 192), Basic(192, 192, 3, stride=2))
    return Branches(three, seven, nn.MaxPool2d(3, 2))


def block_e(inputs: int) -> nn.Module:
    three = nn.Sequential(Basic(inputs, 384), Branches(row(384, 384, 3), column(384, 384, 3)))
    stacked = Branches(row(384, 384, 3), column(384, 384, 3))
    double = nn.Sequential(Basic(inputs, 448), Basic(448, 384, 3, padding=1), stacked)
    return Branches(Basic(inputs, 320), three, double, pooled(inputs, 192))


class InceptionV3(nn.Module):
    """Images (N, 3, H, W), from 75 pixels on, to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        stem = [Basic(3, 32, 3, stride=2), Basic(32, 32, 3), Basic(32, 64, 3, padding=1), nn.MaxPool2d(3, 2)]
        stem += [Basic(64, 80), Basic(80, 192, 3), nn.MaxPool2d(3, 2)]
        middle = [block_c(c) for c in (128, 160, 160, 192)]
        blocks = [block_a(192, 32), block_a(256, 64), block_a(288, 64), block_b(288), *middle, block_d()]
        self.features = nn.Sequential(*stem, *blocks, block_e(1280), block_e(2048))
        self.fc = nn.Linear(2048 // SHARE, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))
