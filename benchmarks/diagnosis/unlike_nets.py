"""Networks of further kinds, unlike those that causes and limits were set on. All yield logits (N, K)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.diagnosis.image_nets import SqueezeExcite


class ExcitedBlock(nn.Module):
    """Two 3x3 convolutions and a gate around a shortcut (SE-ResNet, Hu et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.excite = SqueezeExcite(outputs)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.wider = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.excite(self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x))))))
        return functional.relu(y + functional.pad(self.pool(x), (0, 0, 0, 0, 0, self.wider)))


class Excited(nn.Module):
    """A CIFAR ResNet of six such blocks on (N, 3, 32, 32), shortcuts without weights."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        rows = ((16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1))
        self.blocks = nn.Sequential(*(ExcitedBlock(*row) for row in rows))
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


class Wide(nn.Sequential):
    """Wide convolutions without bias, LeakyReLU, strides in place of pooling, on (N, 3, 32, 32)."""

    def __init__(self, rows: Sequence[tuple[int, int]] = ((32, 1), (64, 2), (64, 1), (128, 2), (128, 2))) -> None:
        steps: list[nn.Module] = []
        inputs = 3
        for width, stride in rows:
            conv = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
            steps += [conv, nn.BatchNorm2d(width), nn.LeakyReLU(0.1)]
            inputs = width
        super().__init__(*steps, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


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


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    first = [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    second = [nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*first, *second)


class Hourglass(nn.Module):
    """Down and up again with concatenated shortcuts (U-Net, Ronneberger et al. 2015), on (N, 1, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.high, self.middle, self.low = _twice(1, 12), _twice(12, 24), _twice(24, 32)
        self.up1, self.joined1 = nn.ConvTranspose2d(32, 24, 2, 2), _twice(48, 24)
        self.up2, self.joined2 = nn.ConvTranspose2d(24, 12, 2, 2), _twice(24, 16)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        high = self.high(x)
        middle = self.middle(functional.max_pool2d(high, 2))
        low = self.low(functional.max_pool2d(middle, 2))
        middle = self.joined1(torch.cat([middle, self.up1(low)], 1))
        high = self.joined2(torch.cat([high, self.up2(middle)], 1))
        return self.fc(functional.adaptive_avg_pool2d(high, 2).flatten(1))


class Radio(nn.Module):
    """Residual convolutions with Mish on two channels of a signal (N, 2, T)."""

    def __init__(self, width: int = 32, classes: int = 6) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(2, width, 9, 2, 4), nn.BatchNorm1d(width), nn.Mish())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, 5, padding=2, bias=False),
                nn.BatchNorm1d(width),
                nn.Mish(),
                nn.Conv1d(width, width, 5, padding=2, bias=False),
                nn.BatchNorm1d(width),
            )
            for _ in range(3)
        )
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = functional.max_pool1d(functional.mish(x + block(x)), 2)
        return self.fc(x.mean(2))


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


class RootNormed(nn.Module):
    """RMSNorms around shortcuts and BatchNorms between, on a table (N, F)."""

    def __init__(self, features: int, classes: int, width: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(features, width, bias=False), nn.BatchNorm1d(width), nn.SiLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.RMSNorm(width), nn.Linear(width, 72), nn.BatchNorm1d(72), nn.SiLU(), nn.Linear(72, width))
            for _ in range(depth)
        )
        self.norm, self.fc = nn.BatchNorm1d(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.fc(self.norm(x))
