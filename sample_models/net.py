"""Architectures of the sample models, small enough to read at one go.

All take images of shape (N, 1, 8, 8), float32 in [0, 1], and return logits of shape (N, 10).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORMS_2D: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": lambda channels: nn.GroupNorm(4, channels),
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
    "instance_stats": lambda channels: nn.InstanceNorm2d(channels, affine=True, track_running_stats=True),
}
NORMS_TOKEN: dict[str, Callable[[int], nn.Module]] = {
    "layer": nn.LayerNorm,
    "rms": lambda width: nn.RMSNorm(width, eps=1e-6),
}


class DigitsCNN(nn.Module):
    """Three convolutions, each with a normalization layer and ReLU, then a global average and a linear layer.

    `norm` is batch, group, instance, or instance_stats (InstanceNorm with running statistics).
    """

    def __init__(self, norm: str = "batch") -> None:
        super().__init__()
        make = NORMS_2D[norm]
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm1 = make(16)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.norm2 = make(32)
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1, bias=False)
        self.norm3 = make(64)
        self.relu3 = nn.ReLU()
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, 1, 8, 8)."""
        x = self.relu1(self.norm1(self.conv1(x)))
        x = self.pool(self.relu2(self.norm2(self.conv2(x))))
        x = self.relu3(self.norm3(self.conv3(x)))
        return self.head(x.mean(dim=(2, 3)))


class Block(nn.Module):
    """A pre-norm transformer block: self-attention, then a two-layer perceptron with GELU."""

    def __init__(self, width: int, heads: int, make_norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = make_norm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = make_norm(width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.gelu = nn.GELU()
        self.fc2 = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, T, width) to tokens of the same shape."""
        x = x + self.dropout(self.attend(self.norm1(x)))
        return x + self.dropout(self.fc2(self.gelu(self.fc1(self.norm2(x)))))

    def attend(self, x: Tensor) -> Tensor:
        """Multi-head self-attention of tokens (N, T, width)."""
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=2))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class DigitsTransformer(nn.Module):
    """The 16 patches of 2x2 pixels as tokens, two pre-norm blocks, the mean token, a linear layer.

    `norm` is layer or rms.
    """

    def __init__(self, norm: str = "layer", width: int = 32, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        make = NORMS_TOKEN[norm]
        self.patches = nn.Conv2d(1, width, kernel_size=2, stride=2)
        self.position = nn.Parameter(0.02 * torch.randn(1, 16, width))
        self.blocks = nn.Sequential(*(Block(width, heads, make) for _ in range(depth)))
        self.norm = make(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, 1, 8, 8)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(tokens)).mean(dim=1))


class Hidden(nn.Module):
    """One hidden layer of the perceptron: linear, BatchNorm if asked for, sigmoid."""

    def __init__(self, inputs: int, units: int, batch_norm: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, units, bias=not batch_norm)
        self.norm = nn.BatchNorm1d(units) if batch_norm else nn.Identity()
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) to (N, units)."""
        return self.sigmoid(self.norm(self.linear(x)))


class DigitsMLP(nn.Module):
    """Three hidden layers of 100 sigmoid units, as in section 4.1 of Ioffe and Szegedy (2015), arXiv:1502.03167.

    `norm` is none, or batch: BatchNorm between each linear layer and its sigmoid.
    """

    def __init__(self, norm: str = "none") -> None:
        super().__init__()
        batch_norm = {"none": False, "batch": True}[norm]
        self.hidden1 = Hidden(64, 100, batch_norm)
        self.hidden2 = Hidden(100, 100, batch_norm)
        self.hidden3 = Hidden(100, 100, batch_norm)
        self.head = nn.Linear(100, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, 1, 8, 8)."""
        return self.head(self.hidden3(self.hidden2(self.hidden1(x.flatten(1)))))
