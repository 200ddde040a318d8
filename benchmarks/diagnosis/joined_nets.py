"""Networks whose branches are concatenated. They map images (N, C, H, W) to logits (N, K), or (N, K, H, W)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


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


def _unit(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, eps=1e-3), nn.ReLU())


class Branching(nn.Module):
    """1x1, 3x3, two 3x3 and a pooled 1x1 side by side (Inception, Szegedy et al. 2015)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        pooled = nn.Sequential(nn.AvgPool2d(3, 1, 1), _unit(inputs, width))
        double = nn.Sequential(_unit(inputs, width), _unit(width, width, 3), _unit(width, width, 3))
        single = nn.Sequential(_unit(inputs, width), _unit(width, width, 3))
        self.branches = nn.ModuleList([_unit(inputs, width), single, double, pooled])

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Inception(nn.Sequential):
    """A stem and three such blocks, pooled in between, on (N, 3, 32, 32)."""

    def __init__(self, classes: int = 10) -> None:
        stem = [_unit(3, 16, 3), nn.MaxPool2d(2)]
        blocks = [Branching(16, 8), nn.MaxPool2d(2), Branching(32, 16), Branching(64, 16)]
        super().__init__(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, classes))


class Dense(nn.Module):
    """A class for each pixel: dilated convolutions side by side, at half size and enlarged again (Chen et al. 2018)."""

    def __init__(self, classes: int = 11) -> None:
        super().__init__()
        self.high = nn.Sequential(_unit(3, 16, 3), _unit(16, 16, 3))
        self.low = nn.Sequential(nn.MaxPool2d(2), _unit(16, 32, 3), _unit(32, 32, 3))
        self.branches = nn.ModuleList([_unit(32, 16), _unit(32, 16, 3, 2), _unit(32, 16, 3, 4)])
        self.joined = _unit(48, 32)
        self.head = nn.Sequential(_unit(48, 24, 3), nn.Conv2d(24, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        high = self.high(x)
        low = self.low(high)
        low = self.joined(torch.cat([branch(low) for branch in self.branches], 1))
        return self.head(torch.cat([high, functional.interpolate(low, scale_factor=2.0, mode="bilinear")], 1))
