"""A healthy network that faults are planted into, with its data; how it is trained, and cached in benchmarks/.cache."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.diagnosis.samples import Array, Samples
from normdiag.data.preprocess import prepare
from normdiag.data.recipe import parse_recipe

TEST = 500
CACHE = Path(__file__).resolve().parents[1] / ".cache"
Half = Literal["development", "held-out"]
NORMS = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True, eq=False)
class Subject:
    """A healthy model in eval mode with its data.

    `recipe` is the `--preprocess` of training, None for data that is fed as stored. `test` is what the model is run on,
    `training` what it was trained on (or like it), `foreign` the same network from another seed. The diagnosis sees
    `shown` of the test samples in batches of `batch`.
    """

    name: str
    half: Half
    module: nn.Module
    recipe: str | None
    test: Samples
    training: Samples
    foreign: nn.Module | None = None
    shown: int = TEST
    batch: int = 50

    @property
    def norms(self) -> tuple[str, ...]:
        """Paths of the BatchNorm layers, in the order in which they run."""
        return norms_in_order(self.module, self.x(self.test.stored[:2]))

    def x(self, stored: Array | None = None, recipe: str | None = None) -> Tensor:
        """What the model is fed, (N, ...) float32; by default the test data, prepared as in training."""
        return prepared(self.test.stored if stored is None else stored, recipe or self.recipe)

    def copied(self) -> nn.Module:
        return copy.deepcopy(self.module)


def prepared(stored: Array, recipe: str | None) -> Tensor:
    """Stored arrays as a model gets them: floats, or tokens as they are."""
    found = prepare(stored, parse_recipe(recipe) if recipe else None, None)
    return torch.from_numpy(found if are_tokens(stored) else found.astype(np.float32))


def are_tokens(stored: Array) -> bool:
    """Whether these are numbers of words, not values."""
    return stored.dtype == np.int64


def norms_in_order(module: nn.Module, x: Tensor) -> tuple[str, ...]:
    names: list[str] = []
    hooks = [
        each.register_forward_hook(lambda *_, name=name: names.append(name))
        for name, each in module.named_modules()
        if isinstance(each, NORMS)
    ]
    with torch.no_grad():
        module(x)
    for hook in hooks:
        hook.remove()
    return tuple(dict.fromkeys(names))


@torch.no_grad()
def accuracy(module: nn.Module, x: Tensor, labels: Array, batch: int = 100) -> float:
    """Per cent right."""
    guesses = torch.cat([module(part).nan_to_num(-1e30).argmax(1) for part in x.split(batch)])
    return 100 * float(np.mean(guesses.numpy() == labels))


@torch.no_grad()
def recalibrated(module: nn.Module, x: Tensor, batch: int = 128) -> nn.Module:
    """A copy with the population statistics of these inputs, everything else in eval mode."""
    module = copy.deepcopy(module).eval()
    norms = [each for each in module.modules() if isinstance(each, NORMS)]
    for norm in norms:
        norm.num_batches_tracked = torch.tensor(0)
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True
    for part in x.split(batch):
        if len(part) > 1:
            module(part)
    for norm in norms:
        norm.momentum = 0.1
    return module.eval()


def augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, C, H, W) moved by up to 3 pixels and brightened or darkened, as strong augmentation does."""
    down, right = (int(torch.randint(-3, 4, (), generator=generator)) for _ in range(2))
    gain = 1.0 + 0.4 * (torch.rand((len(x), 1, 1, 1), generator=generator) - 0.5)
    return gain * x.roll((down, right), (2, 3)) + 0.2 * torch.randn(x.shape, generator=generator)


def train(
    module: nn.Module, x: Tensor, labels: Array, *, steps: int, lr: float, seed: int = 0, augment: bool = False
) -> Iterator[None]:
    """Train on seeded batches of 64 with AdamW on one cycle; yields after each step. Modes are left to the caller."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(len(x), (64,), generator=generator)
        optimizer.zero_grad()
        batch = augmented(x[chosen], generator) if augment else x[chosen]
        functional.cross_entropy(module(batch), y[chosen]).backward()
        optimizer.step()
        schedule.step()
        yield


def cached(name: str, make: Callable[[], nn.Module], fit: Callable[[nn.Module], object]) -> nn.Module:
    """The module with the weights that were cached under this name, or that `fit` gives it."""
    module, path = make(), CACHE / f"{name}.pt"
    if path.is_file():
        module.load_state_dict(torch.load(path, weights_only=True))
        return module.eval()
    fit(module)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), path)
    return module.eval()


def trained(
    name: str,
    make: Callable[[], nn.Module],
    x: Tensor,
    labels: Array,
    steps: int,
    seed: int,
    augment: bool = False,
) -> nn.Module:
    """The module trained on these data, or as cached under its name and seed."""

    def fit(module: nn.Module) -> None:
        module.train()
        for _ in train(module, x, labels, steps=steps, lr=0.01, seed=seed, augment=augment):
            pass

    def seeded() -> nn.Module:
        torch.manual_seed(seed)
        return make()

    return cached(f"{name}_{seed}", seeded, fit)
