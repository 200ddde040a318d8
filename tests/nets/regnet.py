"""RegNetY-400MF as torchvision builds it (Radosavovic et al. 2020), narrow: 53 BatchNorm."""

from __future__ import annotations

from torch import Tensor, nn

DEPTHS, WIDTHS, GROUP_WIDTH = (1, 3, 6, 6), (8, 16, 24, 48), 8


def conv_norm(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class SqueezeExcitation(nn.Module):
    """Each channel times a number between 0 and 1 that all channels' means give."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = nn.functional.adaptive_avg_pool2d(x, 1)
        return x * self.fc2(self.fc1(scale).relu()).sigmoid()


class Block(nn.Module):
    """A grouped bottleneck with squeeze and excitation, and a projection where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.proj = conv_norm(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else None
        self.a = conv_norm(inputs, outputs)
        self.b = conv_norm(outputs, outputs, 3, stride, outputs // GROUP_WIDTH)
        self.se = SqueezeExcitation(outputs, max(1, inputs // 4))
        self.c = conv_norm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.c(self.se(self.b(self.a(x).relu_()).relu_()))
        return ((x if self.proj is None else self.proj(x)) + y).relu_()


class RegNetY(nn.Module):
    """Images (N, 3, H, W) to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, inputs = conv_norm(3, 8, 3, 2), 8
        blocks = []
        for depth, width in zip(DEPTHS, WIDTHS, strict=True):
            for i in range(depth):
                blocks.append(Block(inputs, width, 2 if i == 0 else 1))
                inputs = width
        self.trunk, self.fc = nn.Sequential(*blocks), nn.Linear(inputs, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.trunk(self.stem(x).relu_())
        return self.fc(nn.functional.adaptive_avg_pool2d(y, 1).flatten(1))
