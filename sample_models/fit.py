"""Training loops of the sample models. Seeded throughout; one thread, so that sums are added in one order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Split = tuple[Tensor, Tensor]


def batches(split: Split, size: int, seed: int) -> Iterator[Split]:
    """Endless shuffled batches; every epoch drops its incomplete last one."""
    x, y = split
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(x), generator=generator)
        for start in range(0, len(x) - size + 1, size):
            chosen = order[start : start + size]
            yield x[chosen], y[chosen]


def fit(make: Callable[[], nn.Module], split: Split, *, epochs: int, lr: float, seed: int = 0) -> nn.Module:
    """A trained model in eval mode: AdamW on one cycle of the learning rate `lr`, batches of 64."""
    torch.manual_seed(seed)
    model = make().train()
    steps = epochs * (len(split[0]) // 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    for _, (x, y) in zip(range(steps), batches(split, 64, seed), strict=False):
        step(model, optimizer, x, y, label_smoothing=0.05)
        schedule.step()
    return model.eval()


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, label_smoothing: float = 0.0) -> None:
    """One step down the gradient of the cross-entropy."""
    optimizer.zero_grad()
    F.cross_entropy(model(x), y, label_smoothing=label_smoothing).backward()
    optimizer.step()


def accuracy(model: Callable[[Tensor], Tensor], split: Split) -> float:
    """Share of images classified right, in percent."""
    x, y = split
    with torch.no_grad():
        return 100.0 * (model(x).argmax(1) == y).float().mean().item()


def with_statistics(weights: Mapping[str, Tensor], statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict with the parameters of one model and the running statistics of another."""
    return {name: statistics[name] if "running_" in name else value for name, value in weights.items()}
