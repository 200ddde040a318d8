"""ResNets as torchvision builds them (He et al. 2015; stride in the 3x3 convolution), of any width."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two convolutions, each with its norm, around a shortcut that has both where the shape changes."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = projection(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions, each with its norm, around such a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(inputs, 4 * planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


def projection(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """The shortcut's convolution and norm, where it needs them."""
    made = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    return None if stride == 1 and inputs == outputs else made


class ResNet(nn.Module):
    """Images (N, 3, H, W) to logits (N, classes); four stages of `depths` blocks."""

    def __init__(
        self, block: type[BasicBlock | Bottleneck], depths: tuple[int, ...], width: int = 64, classes: int = 1000
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        sizes = [width, *(block.expansion * width << stage for stage in range(len(depths)))]
        for stage, ((inputs, outputs), depth) in enumerate(zip(pairwise(sizes), depths, strict=True)):
            first = block(inputs, width << stage, 2 if stage else 1)
            rest = (block(outputs, width << stage, 1) for _ in range(depth - 1))
            setattr(self, f"layer{stage + 1}", nn.Sequential(first, *rest))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(sizes[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def resnet18(width: int = 16, classes: int = 10) -> ResNet:
    """20 BatchNorm; with a quarter of the channels unless told otherwise."""
    return ResNet(BasicBlock, (2, 2, 2, 2), width, classes)


def resnet50() -> ResNet:
    """53 BatchNorm, 25,557,032 parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3))
