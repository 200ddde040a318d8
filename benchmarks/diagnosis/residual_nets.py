"""Small residual networks. All map images (N, C, H, W) to logits (N, K)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from benchmarks.diagnosis.image_nets import SqueezeExcite


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class SmallResNet(nn.Module):
    """Three residual blocks on (N, 3, 32, 32)."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = Residual(16, 16, 2)
        self.layer2 = Residual(16, 32, 2)
        self.layer3 = Residual(32, 64, 2)
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        return self.fc(y.mean((2, 3)))


class Deep(nn.Module):
    """Twelve narrow residual blocks with ELU, 25 norms, on (N, 1, 8, 8)."""

    def __init__(self, width: int = 10, blocks: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ELU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
            )
            for _ in range(blocks)
        )
        self.fc = nn.Linear(4 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.elu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = functional.elu(x + block(x))
        return self.fc(functional.adaptive_avg_pool2d(x, 2).flatten(1))


class PreActivated(nn.Module):
    """BatchNorm and ReLU before each convolution (He et al. 2016, Identity Mappings)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(x))
        return self.shortcut(y) + self.conv2(functional.relu(self.norm2(self.conv1(y))))


class PreActivationResNet(nn.Sequential):
    """Three such blocks on (N, 3, 32, 32); the first norm comes after the stem's convolution and before any ReLU."""

    def __init__(self, classes: int = 10) -> None:
        blocks = [PreActivated(16, 24, 2), PreActivated(24, 32, 2), PreActivated(32, 48, 1)]
        head = [nn.BatchNorm2d(48), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, classes)]
        super().__init__(nn.Conv2d(3, 16, 5, 2, 2, bias=False), *blocks, *head)


class Grouped(nn.Module):
    """Two grouped bottlenecks (ResNeXt, Xie et al. 2017) with ELU and GroupNorm between BatchNorms, on (N, 1, H, W)."""

    def __init__(self, width: int = 32, groups: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ELU())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width // 2, 1, bias=False),
                nn.BatchNorm2d(width // 2),
                nn.ELU(),
                nn.Conv2d(width // 2, width // 2, 3, padding=1, groups=groups, bias=False),
                nn.GroupNorm(groups, width // 2),
                nn.ELU(),
                nn.Conv2d(width // 2, width, 1, bias=False),
                nn.BatchNorm2d(width),
            )
            for _ in range(3)
        )
        self.fc = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = functional.elu(x + block(x))
        return self.fc(x.mean((2, 3)))


class ExcitedBlock(nn.Module):
    """Two 3x3 convolutions and a gate around a shortcut (SE-ResNet, Hu et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.excite = SqueezeExcite(outputs)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.wider = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.excite(self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x))))))
        return functional.relu(y + functional.pad(self.pool(x), (0, 0, 0, 0, 0, self.wider)))


class Excited(nn.Module):
    """A CIFAR ResNet of six such blocks on (N, 3, 32, 32), shortcuts without weights."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        rows = ((16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1))
        self.blocks = nn.Sequential(*(ExcitedBlock(*row) for row in rows))
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 around a projected shortcut (He et al. 2016); the last norm begins with a gamma of 0."""

    def __init__(self, inputs: int, width: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        nn.init.zeros_(self.bn3.weight)
        projected = nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential(*projected) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(functional.relu(self.bn2(self.conv2(y)))))
        return functional.relu(y + self.downsample(x))


class Bottlenecks(nn.Sequential):
    """A stem that is pooled, and four bottlenecks, on (N, 3, 32, 32)."""

    def __init__(self, classes: int = 10) -> None:
        stem = [nn.Conv2d(3, 24, 3, 1, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        rows = ((24, 12, 48, 1), (48, 16, 64, 2), (64, 16, 64, 1), (64, 24, 96, 2))
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, classes)]
        super().__init__(*stem, *(Bottleneck(*row) for row in rows), *head)
