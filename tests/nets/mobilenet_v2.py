"""MobileNetV2 as torchvision builds it (Sandler et al. 2018), with a quarter of the channels: 52 BatchNorm."""

from __future__ import annotations

from torch import Tensor, nn

# expansion, channels, blocks, stride
SETTINGS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def conv_norm(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow without an activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        widen = [] if expansion == 1 else [*conv_norm(inputs, hidden), nn.ReLU6(inplace=True)]
        depthwise = [*conv_norm(hidden, hidden, 3, stride, hidden), nn.ReLU6(inplace=True)]
        self.conv = nn.Sequential(*widen, *depthwise, *conv_norm(hidden, outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """Images (N, 3, H, W) to logits (N, 10)."""

    def __init__(self, share: int = 4) -> None:
        super().__init__()
        inputs = 32 // share
        layers = [*conv_norm(3, inputs, 3, 2), nn.ReLU6(inplace=True)]
        for expansion, channels, blocks, stride in SETTINGS:
            for i in range(blocks):
                layers.append(InvertedResidual(inputs, channels // share, stride if i == 0 else 1, expansion))
                inputs = channels // share
        layers += [*conv_norm(inputs, 1280 // share), nn.ReLU6(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280 // share, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(nn.functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))
