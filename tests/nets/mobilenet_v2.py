"""MobileNetV2 as torchvision builds it (Sandler et al. 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _conv_bn_relu6(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """Expand, depthwise 3x3, project; a shortcut where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        steps = [_conv_bn_relu6(inputs, hidden)] if expand != 1 else []
        steps.append(_conv_bn_relu6(hidden, hidden, 3, stride, groups=hidden))
        self.conv = nn.Sequential(*steps, nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """Images (N, 3, H, W) to logits (N, classes), with 1 / `share` of the channels: 52 BatchNorm and 35 ReLU6.

    Rows are (expansion, channels, blocks, stride).
    """

    ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self, share: int = 4, classes: int = 10) -> None:
        super().__init__()
        channels = 32 // share
        steps: list[nn.Module] = [_conv_bn_relu6(3, channels, 3, 2)]
        for expand, outputs, blocks, stride in self.ROWS:
            for block in range(blocks):
                steps.append(InvertedResidual(channels, outputs // share, 1 if block else stride, expand))
                channels = outputs // share
        self.features = nn.Sequential(*steps, _conv_bn_relu6(channels, 1280 // share))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280 // share, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.features(x), 1)
        return self.classifier(torch.flatten(x, 1))
