"""Networks that mix positions and channels apart, and such whose channels are shuffled. All yield logits (N, K)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Mixing(nn.Module):
    """A depthwise convolution around a shortcut, then a pointwise one, each with GELU before its norm."""

    def __init__(self, width: int, kernel: int = 5) -> None:
        super().__init__()
        depthwise = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.spatial = nn.Sequential(depthwise, nn.GELU(), nn.BatchNorm2d(width))
        self.channels = nn.Sequential(nn.Conv2d(width, width, 1), nn.GELU(), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.channels(x + self.spatial(x))


class ConvMixer(nn.Sequential):
    """Patches of 4x4 and four such blocks (Trockman and Kolter 2022), on (N, 3, 32, 32)."""

    def __init__(self, width: int = 64, depth: int = 4) -> None:
        stem = [nn.Conv2d(3, width, 4, 4), nn.GELU(), nn.BatchNorm2d(width)]
        blocks = [Mixing(width) for _ in range(depth)]
        super().__init__(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


class MixerBlock(nn.Module):
    """Over the tokens, then over the features, with BatchNorm and LayerNorm before them."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm1d(width), nn.LayerNorm(width)
        self.over_tokens = nn.Sequential(nn.Linear(tokens, 48), nn.GELU(), nn.Linear(48, tokens))
        self.over_width = nn.Sequential(nn.Linear(width, 96), nn.GELU(), nn.Linear(96, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.over_tokens(self.norm1(x))
        return x + self.over_width(self.norm2(x.transpose(1, 2))).transpose(1, 2)


class Mixer(nn.Module):
    """An MLP-Mixer (Tolstikhin et al. 2021) on patches of 4x4 of (N, 1, 16, 16), with both kinds of norms."""

    def __init__(self, width: int = 40, depth: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 4, 4)
        self.blocks = nn.Sequential(*(MixerBlock(16, width) for _ in range(depth)))
        self.norm = nn.BatchNorm1d(width)
        self.fc = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.blocks(self.patches(x).flatten(2))).mean(2))


def _normed(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class ShuffledUnit(nn.Module):
    """One half of the channels pointwise, depthwise and pointwise, beside the other; then both shuffled."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.split, half = stride == 1, outputs // 2
        own = half if self.split else inputs
        beside = [*_normed(inputs, inputs, 3, stride, inputs), *_normed(inputs, half), nn.ReLU()]
        self.beside = nn.Identity() if self.split else nn.Sequential(*beside)
        deep = [*_normed(own, half), nn.ReLU(), *_normed(half, half, 3, stride, half), *_normed(half, half), nn.ReLU()]
        self.deep = nn.Sequential(*deep)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1) if self.split else (x, x)
        y = torch.stack([self.beside(left), self.deep(right)], 2)
        return y.flatten(1, 2)


class Shuffled(nn.Sequential):
    """A stem, four such units and a last convolution (ShuffleNet V2, Ma et al. 2018), on (N, 3, 32, 32)."""

    def __init__(self, classes: int = 10) -> None:
        units = [ShuffledUnit(*row) for row in ((16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1))]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, classes)]
        super().__init__(*_normed(3, 16, 3, 2), nn.ReLU(), *units, *_normed(64, 96), nn.ReLU(), *head)
