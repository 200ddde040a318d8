"""Small convolutional networks of the usual kinds. All map images (N, C, H, W) to logits (N, K)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class SqueezeExcite(nn.Module):
    """A gate for each channel from the means of all (Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, max(channels // 4, 4), 1)
        self.expand = nn.Conv2d(max(channels // 4, 4), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.expand(functional.silu(self.reduce(x.mean((2, 3), keepdim=True)))))


class Inverted(nn.Module):
    """Expand, depthwise 3x3, project (Sandler et al. 2018), with or without squeeze and excitation."""

    def __init__(self, inputs: int, outputs: int, stride: int, act: Callable[[], nn.Module], excite: bool) -> None:
        super().__init__()
        hidden = 3 * inputs
        self.expand = nn.Sequential(nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), act())
        depthwise = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
        self.depthwise = nn.Sequential(depthwise, nn.BatchNorm2d(hidden), act())
        self.excite = SqueezeExcite(hidden) if excite else nn.Identity()
        self.project = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + y if self.residual else y


class Mobile(nn.Module):
    """Five inverted residuals on (N, 3, 32, 32); SiLU and squeeze and excitation, or ReLU6."""

    def __init__(self, modern: bool = True, classes: int = 10) -> None:
        super().__init__()
        act: Callable[[], nn.Module] = nn.SiLU if modern else nn.ReLU6
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), act())
        rows = ((16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 40, 2), (40, 40, 1))
        self.blocks = nn.Sequential(*(Inverted(a, b, stride, act, modern) for a, b, stride in rows))
        self.last = nn.Sequential(nn.Conv2d(40, 96, 1, bias=False), nn.BatchNorm2d(96), act())
        self.fc = nn.Linear(96, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(self.blocks(self.stem(x))).mean((2, 3)))


class Plain(nn.Sequential):
    """Convolutions with bias, BatchNorm, ReLU and dropout after it, pooled in between, on (N, inputs, H, W)."""

    def __init__(self, widths: Sequence[int] = (16, 32, 32, 64), inputs: int = 1, dropout: float = 0.0) -> None:
        steps: list[nn.Module] = []
        for index, width in enumerate(widths):
            steps += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            steps += [nn.MaxPool2d(2)] if index % 2 else []
            steps += [nn.Dropout(dropout)] if dropout else []
            inputs = width
        super().__init__(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


class DropoutFirst(nn.Sequential):
    """Dropout between each convolution and its norm, which sees wider values in training than later."""

    def __init__(self, dropout: float = 0.5) -> None:
        steps: list[nn.Module] = []
        inputs = 1
        for width in (16, 32, 64):
            drop = [nn.Dropout(dropout)] if inputs > 1 else []
            steps += [*drop, nn.Conv2d(inputs, width, 3, padding=1, bias=False)]
            steps += [nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
            inputs = width
        head = [nn.Linear(64, 64), nn.Dropout(dropout), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10)]
        super().__init__(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head)


class PreActivation(nn.Module):
    """Dense blocks: BatchNorm, ReLU, convolution on the concatenation of all before (Huang et al. 2017)."""

    def __init__(self, inputs: int = 1, growth: int = 12, depth: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(inputs, 16, 3, 2, 1, bias=False)
        self.blocks, self.transitions = nn.ModuleList(), nn.ModuleList()
        width = 16
        for _ in range(2):
            layers = nn.ModuleList()
            for _ in range(depth):
                conv = nn.Conv2d(width, growth, 3, padding=1, bias=False)
                layers.append(nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), conv))
                width += growth
            self.blocks.append(layers)
            half = nn.Conv2d(width, width // 2, 1, bias=False)
            self.transitions.append(nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), half, nn.AvgPool2d(2)))
            width //= 2
        self.norm = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layers, transition in zip(self.blocks, self.transitions, strict=True):
            for layer in layers:
                x = torch.cat([x, layer(x)], 1)
            x = transition(x)
        return self.fc(functional.relu(self.norm(x)).mean((2, 3)))


class Mixed(nn.Sequential):
    """BatchNorm, GroupNorm, LayerNorm and BatchNorm again, with hard swish and sigmoid, on (N, 1, 8, 8)."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 12, 3, padding=1, bias=False),
            nn.BatchNorm2d(12),
            nn.Hardswish(),
            nn.Conv2d(12, 24, 3, padding=1),
            nn.GroupNorm(4, 24),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.Sigmoid(),
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ELU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.LayerNorm(128),
            nn.Linear(128, 10),
        )


class Deeper(nn.Sequential):
    """Six convolutions with BatchNorm and ReLU, pooled after every second (VGG), and a head with one more norm."""

    def __init__(self, widths: Sequence[int] = (16, 16, 32, 32, 48, 48)) -> None:
        steps: list[nn.Module] = []
        inputs = 1
        for index, width in enumerate(widths):
            steps += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            steps += [nn.MaxPool2d(2)] if index % 2 else []
            inputs = width
        head = [nn.Linear(4 * inputs, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 10)]
        super().__init__(*steps, nn.Flatten(), *head)


class ActivationFirst(nn.Sequential):
    """Convolution, ReLU, then BatchNorm (eps 1e-3, momentum 0.01), on (N, 1, H, W)."""

    def __init__(self, widths: Sequence[int] = (12, 24, 24, 48)) -> None:
        steps: list[nn.Module] = []
        inputs = 1
        for index, width in enumerate(widths):
            norm = nn.BatchNorm2d(width, eps=1e-3, momentum=0.02)
            steps += [nn.Conv2d(inputs, width, 3, 1 + index % 2, 1), nn.ReLU(), norm]
            inputs = width
        super().__init__(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


class Separable(nn.Sequential):
    """Depthwise and pointwise convolutions with hard swish and BatchNorm (eps 1e-3, momentum 0.01), on (N, 3, H, W)."""

    def __init__(self, rows: Sequence[tuple[int, int]] = ((16, 1), (32, 2), (32, 1), (64, 2))) -> None:
        steps: list[nn.Module] = [nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16, 1e-3, 0.01), nn.Hardswish()]
        inputs = 16
        for width, stride in rows:
            steps += [nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)]
            steps += [nn.BatchNorm2d(inputs, 1e-3, 0.01), nn.Hardswish(), nn.Conv2d(inputs, width, 1, bias=False)]
            steps += [nn.BatchNorm2d(width, 1e-3, 0.01), nn.Hardswish()]
            inputs = width
        super().__init__(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


class Tiny(nn.Sequential):
    """Two norms before sigmoids, on (N, 1, 8, 8)."""

    def __init__(self) -> None:
        first = [nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.Sigmoid(), nn.MaxPool2d(2)]
        second = [nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.Sigmoid()]
        super().__init__(*first, *second, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(96, 10))


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
