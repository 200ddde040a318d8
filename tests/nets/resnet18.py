"""ResNet18 as torchvision builds it (He et al. 2015), with a quarter of the channels: 20 BatchNorm."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions, each with its norm, around a shortcut that has both where the shape changes."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        same = stride == 1 and inputs == planes
        projection = (nn.Conv2d(inputs, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))
        self.downsample = None if same else nn.Sequential(*projection)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        shortcut = x if self.downsample is None else self.downsample(x)
        y += shortcut
        return self.relu(y)


class ResNet18(nn.Module):
    """Images (N, 3, H, W) to logits (N, 10)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        for i, (inputs, planes) in enumerate(pairwise(widths), 1):
            stride = 1 if i == 1 else 2
            self.add_module(f"layer{i}", nn.Sequential(Block(inputs, planes, stride), Block(planes, planes, 1)))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))
