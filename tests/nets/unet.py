"""A U-Net (Ronneberger et al. 2015) with BatchNorm, as it is mostly written today, and narrow: 22 BatchNorm.

Nine blocks of two convolutions, and a norm after each of the four transposed convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions, each with norm and ReLU."""
    first = (nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
    second = (nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
    return nn.Sequential(*first, *second)


class UNet(nn.Module):
    """Images (N, 3, H, W), sides that 16 divides, to masks (N, 2, H, W)."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(5)]
        self.down = nn.ModuleList(double(a, b) for a, b in zip([3, *widths], widths, strict=False))
        pairs = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(nn.Sequential(nn.ConvTranspose2d(a, b, 2, 2), nn.BatchNorm2d(b)) for a, b in pairs)
        self.merge = nn.ModuleList(double(a, b) for a, b in pairs)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for i, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if i else x)
            kept.append(x)
        for up, merge, skip in zip(self.up, self.merge, kept[-2::-1], strict=True):
            x = merge(torch.cat([skip, up(x)], 1))
        return self.head(x)
