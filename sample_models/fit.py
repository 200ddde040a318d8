"""Training loops of the sample models. Seeded throughout; `train.py` sets one thread, for one order of additions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, update_bn

Split = tuple[Tensor, Tensor]
MLP_BATCH = 60
MLP_INIT_STD = 0.1
MLP_LEARNING_RATE = 2.0


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


def fit_averaged(
    make: Callable[[], nn.Module], split: Split, *, epochs: int, first: int
) -> tuple[nn.Module, nn.Module]:
    """Weights averaged over the epochs from `first` on, at a constant high learning rate: stochastic weight averaging.

    Returns the average as torch's AveragedModel leaves it, with the running statistics of the last epoch's model, and
    the same average with statistics computed for it (update_bn). Both are in eval mode.
    """
    torch.manual_seed(0)
    model = make().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    stream = batches(split, 64, 0)
    averaged = AveragedModel(model)
    for epoch in range(epochs):
        for _ in range(len(split[0]) // 64):
            step(model, optimizer, *next(stream), label_smoothing=0.05)
        if epoch >= first:
            averaged.update_parameters(model)
    stale = copy.deepcopy(averaged.module).eval()
    update_bn([split[0]], averaged)
    return stale, averaged.module.eval()


def fit_frozen(model: nn.Module, split: Split, *, epochs: int) -> nn.Module:
    """The model, fine-tuned on other images with every layer kept in eval mode: its statistics stay as they are."""
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.eval().parameters(), lr=0.003)
    for _, (x, y) in zip(range(epochs * (len(split[0]) // 64)), batches(split, 64, 1), strict=False):
        step(model, optimizer, x, y, label_smoothing=0.05)
    return model


def fit_mlp(model: nn.Module, split: Split, checkpoints: Sequence[int]) -> Iterator[nn.Module]:
    """The model, in eval mode, after each number of steps in `checkpoints` (ascending): plain SGD, batches of 60.

    Weights start as small Gaussians (standard deviation 0.1) and biases at zero. The learning rate, 2, is high on
    purpose: at 0.1 the net without BatchNorm learns next to nothing in 1000 steps.
    """
    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=MLP_INIT_STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=MLP_LEARNING_RATE)
    stream = batches(split, MLP_BATCH, seed=0)
    for done, wanted in zip((0, *checkpoints), checkpoints, strict=False):
        model.train()
        for _ in range(wanted - done):
            step(model, optimizer, *next(stream))
        yield model.eval()


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, label_smoothing: float = 0.0
) -> None:
    """One step down the gradient of the cross-entropy."""
    optimizer.zero_grad()
    F.cross_entropy(model(x), y, label_smoothing=label_smoothing).backward()
    optimizer.step()


def with_statistics(weights: Mapping[str, Tensor], statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict with the parameters of one model and the running statistics of another."""
    return {name: statistics[name] if "running_" in name else value for name, value in weights.items()}
