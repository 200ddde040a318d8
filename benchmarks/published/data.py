"""ResNet20 for CIFAR-10 with third-party weights, and images that it was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.nets.resnet20 import MEAN, STD, load_resnet20

Pixels = NDArray[np.uint8]
REAL = Path("../shared/real")


def network() -> nn.Module:
    """In eval mode."""
    return load_resnet20(REAL / "akamaster/resnet20-12fca82f.th").eval()


def images() -> tuple[Pixels, NDArray[np.int64]]:
    """1,000 images (N, 32, 32, 3) and their labels."""
    with np.load(REAL / "cifar10/train_1000.npz") as data:
        return data["x"], data["y"].astype(np.int64)


def fed(pixels: Pixels) -> Tensor:
    """Images as the network takes them."""
    return torch.from_numpy((pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255.0 - MEAN) / STD)


@torch.no_grad()
def accuracy(net: nn.Module, x: Tensor, labels: NDArray[np.int64]) -> float:
    """Per cent right, in eval mode."""
    net.eval()
    guesses = torch.cat([net(part).argmax(1) for part in x.split(125)])
    return 100.0 * float((guesses.numpy() == labels).mean())
