"""ResNet20 for CIFAR-10 as ../shared/real/README.md describes it, its weights and its data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut that has no weights: every second pixel, zero-padded channels."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.padding = (planes - inputs) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.padding:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))
        return functional.relu(y + x)


class ResNet20(nn.Module):
    """Images (N, 3, 32, 32) to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16, 1), Block(16, 16, 1), Block(16, 16, 1))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        return self.linear(y.mean((2, 3)))


def load_resnet20(path: Path) -> ResNet20:
    """The published weights, in eval mode."""
    weights = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    net = ResNet20()
    net.load_state_dict({name.removeprefix("module."): value for name, value in weights.items()})
    return net.eval()


def prepare(path: Path) -> np.ndarray:
    """CIFAR-10 images (N, 3, 32, 32) as in training, without the augmentation."""
    with np.load(path) as archive:
        x = archive["x"].transpose(0, 3, 1, 2).astype(np.float32) / 255
    return np.ascontiguousarray((x - MEAN) / STD, np.float32)


def batch_norm_tables(net: ResNet20, x: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Per layer, in float64: m (N, C), q (N, C) and the stored variance (C,), from the whole activations."""
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}

    def record(name: str, layer: nn.BatchNorm2d, inputs: tuple[torch.Tensor, ...]) -> None:
        u = inputs[0].double() - layer.running_mean.double()[:, None, None]  # type: ignore[union-attr]
        parts.setdefault(name, []).append((u.mean((2, 3)).numpy(), (u * u).mean((2, 3)).numpy()))

    layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    hooks = [
        layer.register_forward_pre_hook(lambda module, inputs, name=name: record(name, module, inputs))
        for name, layer in layers.items()
    ]
    with torch.no_grad():
        for part in torch.from_numpy(x).split(100):
            net(part)
    for hook in hooks:
        hook.remove()
    return {
        name: (
            np.concatenate([m for m, _ in rows]),
            np.concatenate([q for _, q in rows]),
            layers[name].running_var.numpy(),  # type: ignore[union-attr]
        )
        for name, rows in parts.items()
    }
