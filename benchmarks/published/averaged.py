"""Averaged weights without their statistics (Izmailov et al. 2018, section 3.2) lose, and recalibration gives it back.

A plain net of 18 convolutions with BatchNorm and ReLU on the 8x8 digits of scikit-learn, trained with SGD at a
constant learning rate, as SWA does; 500 digits give the accuracy, the others are trained on.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import normdiag
from benchmarks.diagnosis.samples import small_digits
from benchmarks.published.data import accuracy

HELD, DEPTH, STEPS, APART, RATE = 500, 18, 500, 300, 0.3


@dataclass(frozen=True, eq=False)
class Averaged:
    """The last model that went into an average, and the average with the statistics that it comes with."""

    name: str
    last: nn.Module
    average: nn.Module


def plain() -> nn.Sequential:
    """No shortcuts, so that nothing goes around a layer."""
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for index in range(DEPTH):
        parts += [nn.Conv2d(16 if index else 1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10))


def digits() -> tuple[Tensor, Tensor]:
    """The 1,797 digits (N, 1, 8, 8) in 0..1, and their labels."""
    data = small_digits()
    return torch.from_numpy(data.stored[:, None].astype(np.float32) / 255.0), torch.from_numpy(data.labels)


def trained(net: nn.Module, x: Tensor, y: Tensor, steps: int, seed: int) -> Iterator[int]:
    """SGD with momentum on batches of 64."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(net.parameters(), RATE, momentum=0.9, weight_decay=5e-4)
    for index in range(steps):
        net.train()
        chosen = torch.randint(len(x), (64,), generator=generator)
        optimizer.zero_grad()
        functional.cross_entropy(net(x[chosen]), y[chosen]).backward()
        optimizer.step()
        yield index


def averages(x: Tensor, y: Tensor) -> Iterator[Averaged]:
    """SWA over the second half, an exponential average from the start, and a soup of two."""
    net = plain()
    swa, ema = AveragedModel(net), AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.98))
    halfway: nn.Module | None = None
    for index in trained(net, x, y, STEPS, 0):
        ema.update_parameters(net)
        if index == STEPS // 2:
            halfway, swa = copy.deepcopy(net), AveragedModel(net)
        if index >= STEPS // 2 and index % 5 == 0:
            swa.update_parameters(net)
    assert halfway is not None
    yield Averaged("SWA over the second half; statistics of its first model", net, swa.module)
    latest = copy.deepcopy(swa.module)
    latest.load_state_dict({name: value for name, value in net.state_dict().items() if "running" in name}, strict=False)
    yield Averaged("the same; statistics of the last model", net, latest)
    yield Averaged("EMA 0.98 of the parameters; buffers never copied", net, ema.module)
    pair = [copy.deepcopy(net) for _ in range(2)]
    for seed, each in enumerate(pair):
        for _ in trained(each, x, y, APART, 1 + seed):
            pass
    yield Averaged(f"soup of two, {APART} steps apart; statistics averaged too", pair[0], soup(*pair))


def soup(one: nn.Module, other: nn.Module) -> nn.Module:
    """The mean of everything that both hold."""
    found, others = copy.deepcopy(one), other.state_dict()
    state = one.state_dict()
    found.load_state_dict(
        {name: (value + others[name]) / 2 if value.is_floating_point() else value for name, value in state.items()}
    )
    return found


def table() -> Iterator[str]:
    """A row for each way of averaging."""
    images, labels = digits()
    x, y, held, truth = images[HELD:], labels[HELD:], images[:HELD], labels[:HELD].numpy()
    yield "| averaged | last model | average | after `recalibrate` | `inspect` says |\n|---|---:|---:|---:|---|"
    for each in averages(x, y):
        net = each.average.eval()
        before, report = accuracy(net, held, truth), normdiag.inspect(net, x)
        said = f"`{report.diagnosis[0].cause}`" if report.diagnosis else "nothing"
        normdiag.recalibrate(net, x, in_place=True)
        accuracies = (accuracy(each.last, held, truth), before, accuracy(net, held, truth))
        yield f"| {each.name} | {' | '.join(f'{value:.1f} %' for value in accuracies)} | {said} |"
