"""DenseNet-BC as torchvision builds it (Huang et al. 2016), of any growth."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DenseLayer(nn.Module):
    """BatchNorm, ReLU, convolution, twice; reads the concatenation of all that came before."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        x = self.conv1(self.relu1(self.norm1(torch.cat(features, 1))))
        return self.conv2(self.relu2(self.norm2(x)))


class DenseBlock(nn.ModuleDict):
    """Dense layers, each of which adds `growth` channels."""

    def __init__(self, depth: int, inputs: int, growth: int) -> None:
        super().__init__({f"denselayer{i + 1}": DenseLayer(inputs + i * growth, growth) for i in range(depth)})

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


def _transition(inputs: int) -> nn.Sequential:
    steps = OrderedDict[str, nn.Module](
        norm=nn.BatchNorm2d(inputs),
        relu=nn.ReLU(inplace=True),
        conv=nn.Conv2d(inputs, inputs // 2, 1, bias=False),
        pool=nn.AvgPool2d(2, 2),
    )
    return nn.Sequential(steps)


class DenseNet(nn.Module):
    """Images (N, 3, H, W) to logits (N, classes)."""

    def __init__(self, depths: tuple[int, ...], growth: int = 32, classes: int = 1000) -> None:
        super().__init__()
        channels = 2 * growth
        steps = OrderedDict[str, nn.Module](
            conv0=nn.Conv2d(3, channels, 7, 2, 3, bias=False),
            norm0=nn.BatchNorm2d(channels),
            relu0=nn.ReLU(inplace=True),
            pool0=nn.MaxPool2d(3, 2, 1),
        )
        for index, depth in enumerate(depths, start=1):
            steps[f"denseblock{index}"] = DenseBlock(depth, channels, growth)
            channels += depth * growth
            if index < len(depths):
                steps[f"transition{index}"] = _transition(channels)
                channels //= 2
        steps["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(steps)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.features(x), inplace=True)
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def densenet121(growth: int = 4, classes: int = 10) -> DenseNet:
    """121 BatchNorm, 59 of them after a convolution; narrow unless told otherwise."""
    return DenseNet((6, 12, 24, 16), growth, classes)
