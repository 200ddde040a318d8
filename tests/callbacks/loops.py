"""A small training on made-up images, with or without somebody watching."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

STEPS, BATCH = 24, 16


class DrawingNet(nn.Module):
    """Draws from all three generators in its forward, in training and in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(8, 4)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        noise = 1e-3 * (random.random() + np.random.rand() + torch.rand(()))
        return self.head(self.drop(self.relu(self.norm(self.conv(x)))).mean((2, 3)) + noise)


@dataclass(frozen=True)
class Trained:
    """What a training leaves behind: weights and buffers, the state of the optimizer, flags, random numbers."""

    state: dict[str, Tensor]
    momenta: list[Tensor]
    flags: list[bool]
    drawn: tuple[float, ...]

    def equals(self, other: Trained) -> bool:
        pairs = [*zip(self.state.values(), other.state.values(), strict=True)]
        pairs += zip(self.momenta, other.momenta, strict=True)
        same = all(torch.equal(one, two) for one, two in pairs)
        return same and self.flags == other.flags and self.drawn == other.drawn


def images() -> Tensor:
    return torch.rand(96, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def train(after_step: Callable[[nn.Module, int], object] | None = None, steps: int = STEPS) -> Trained:
    """Seeded; `after_step(net, step)` is called after every step of the optimizer."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    net, data = DrawingNet(), images()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    for step in range(1, steps + 1):
        x = data[torch.randint(len(data), (BATCH,))]
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
        if after_step is not None:
            after_step(net, step)
    return Trained(
        dict(net.state_dict()),
        [each["momentum_buffer"] for each in optimizer.state.values()],
        [module.training for module in net.modules()],
        (random.random(), float(np.random.rand()), float(torch.rand(()))),
    )
