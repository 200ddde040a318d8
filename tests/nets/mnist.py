"""The MNIST net of ../shared/real/burn (examples of tracel-ai/burn), its weights and its data."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class MnistNet(nn.Module):
    """Images (N, 1, 28, 28) to log probabilities (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3), nn.Conv2d(16, 24, 3)
        self.norm1 = nn.BatchNorm2d(24)
        self.fc1, self.fc2 = nn.Linear(24 * 22 * 22, 32), nn.Linear(32, 10)
        self.norm2 = nn.BatchNorm1d(10)

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.conv1, self.conv2, self.conv3):
            x = functional.relu(conv(x))
        x = functional.relu(self.fc1(self.norm1(x).flatten(1)))
        return functional.log_softmax(self.norm2(self.fc2(x)), 1)


def load_mnist(path: Path) -> MnistNet:
    """The trained weights, in eval mode."""
    net = MnistNet()
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval()


def digits(images: Path, labels: Path, count: int) -> tuple[Tensor, np.ndarray]:
    """The first images of the test set as the net was trained on them, and what they show."""
    x, y = (gzip.decompress(path.read_bytes()) for path in (images, labels))
    pixels = np.frombuffer(x, np.uint8, offset=16).reshape(-1, 1, 28, 28)[:count].astype(np.float32) / 255
    return torch.from_numpy((pixels - 0.1307) / 0.3081), np.frombuffer(y, np.uint8, offset=8)[:count]
