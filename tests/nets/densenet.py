"""DenseNet121 as torchvision builds it (Huang et al. 2016), narrow: 121 BatchNorm, 59 of them after a convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DenseLayer(nn.Module):
    """Norm and ReLU come first: what they read is what all layers before have written."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.relu1 = nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(4 * growth), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        x = self.conv1(self.relu1(self.norm1(torch.cat(features, 1))))
        return self.conv2(self.relu2(self.norm2(x)))


class DenseBlock(nn.ModuleList):
    def __init__(self, layers: int, inputs: int, growth: int) -> None:
        super().__init__(DenseLayer(inputs + i * growth, growth) for i in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self:
            features.append(layer(features))
        return torch.cat(features, 1)


class DenseNet121(nn.Module):
    """Images (N, 3, H, W) to logits (N, 10)."""

    def __init__(self, growth: int = 4) -> None:
        super().__init__()
        width = 2 * growth
        stem = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        parts: list[nn.Module] = [*stem, nn.MaxPool2d(3, 2, 1)]
        for i, layers in enumerate((6, 12, 24, 16)):
            parts.append(DenseBlock(layers, width, growth))
            width += layers * growth
            if i < 3:
                conv = nn.Conv2d(width, width // 2, 1, bias=False)
                parts += [nn.BatchNorm2d(width), nn.ReLU(inplace=True), conv, nn.AvgPool2d(2, 2)]
                width //= 2
        self.features = nn.Sequential(*parts, nn.BatchNorm2d(width))
        self.classifier = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu(self.features(x), inplace=True)
        return self.classifier(nn.functional.adaptive_avg_pool2d(y, 1).flatten(1))
