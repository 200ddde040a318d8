"""A tiny transformer with norms of one's choice, whose last residual can be made too large for float16."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tests.nets.exported import onnx_file


class RMSNorm(nn.Module):
    """Written by hand, without a cast: it squares and means in the dtype of its input."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.rand(features) + 0.5), 1e-6

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps) * self.weight


class Stubborn(nn.Module):
    """Makes a float32 tensor of its own, so that it cannot run in half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x) + torch.zeros(8, dtype=torch.float32))


class Block(nn.Module):
    def __init__(self, norm: Callable[[int], nn.Module], features: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.norm1, self.norm2, self.heads = norm(features), norm(features), heads
        self.qkv, self.out = nn.Linear(features, 3 * features), nn.Linear(features, features)
        self.up, self.down = nn.Linear(features, 2 * features), nn.Linear(2 * features, features)

    def forward(self, x: Tensor) -> Tensor:
        samples, tokens, features = x.shape
        split = self.qkv(self.norm1(x)).reshape(samples, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = split.unbind(0)
        mixed = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(samples, tokens, features))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """(N, 6, 8) to (N, 6, 5). `raised` multiplies what the MLP of the last block adds: the last norm sees it."""

    def __init__(self, norm: Callable[[int], nn.Module] = RMSNorm, raised: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(8, 32)
        self.blocks = nn.ModuleList(Block(norm) for _ in range(2))
        self.norm, self.head = norm(32), nn.Linear(32, 5)
        with torch.no_grad():
            for value in self.blocks[-1].down.parameters():
                value.mul_(raised)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def inputs(samples: int = 8) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(samples, 6, 8)).astype(np.float32)


def exported(model: nn.Module, path: Path) -> Path:
    """As TorchScript's exporter spells it: RMSNorm in six nodes, LayerNorm as one."""
    return onnx_file(model, torch.from_numpy(inputs(2)), path, dynamo=False, opset_version=17)
