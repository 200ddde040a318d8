"""Reported faults that `normdiag.recalibrate` repairs, and those that it must leave alone: accuracy on both sides."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import normdiag
from sample_models.net import DigitsCNN, DigitsMLP
from tests.recalibration.references import population

SAMPLES = Path(__file__).parents[1] / "sample_models"
BATCH = 64
Loader = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Case:
    """A net with a fault, and the data that it is recalibrated on."""

    name: str
    net: nn.Module
    data: Loader


def digits(name: str, view: Callable[[Tensor], Tensor] = lambda x: x) -> Loader:
    found = np.load(SAMPLES / name)
    x, y = torch.from_numpy(found["x"]).float() / 255, torch.from_numpy(found["y"])
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return list(zip(view(x[order]).split(BATCH), y[order].split(BATCH), strict=True))


def load(net: nn.Module, name: str) -> nn.Module:
    net.load_state_dict(torch.load(SAMPLES / name))
    return net.eval()


def norms(net: nn.Module) -> list[_BatchNorm]:
    return [module for module in net.modules() if isinstance(module, _BatchNorm)]


def weights(net: nn.Module) -> list[Tensor]:
    return [value for value in net.parameters() if value.dim() > 1]


def trained(net: nn.Module, batches: Loader, momentum: float) -> nn.Module:
    """The statistics that training mode leaves, the weights untouched."""
    for norm in norms(net):
        norm.momentum = momentum
    net.train()
    with torch.no_grad():
        for x, _ in batches:
            net(x)
    return net.eval()


def pruned(net: nn.Module, share: float = 0.5) -> nn.Module:
    for value in weights(net):
        limit = value.detach().abs().flatten().quantile(share)
        value.data[value.abs() < limit] = 0.0
    return net


def rounded(net: nn.Module, bits: int = 4) -> nn.Module:
    for value in weights(net):
        step = value.detach().abs().max() / (2 ** (bits - 1) - 1)
        value.data = (value.data / step).round() * step
    return net


def averaged(net: nn.Module, start: nn.Module, decay: float = 0.97, steps: int = 60) -> nn.Module:
    """An exponential moving average of the weights over a short, fast fine-tuning, with the statistics of its start."""
    student, teacher = copy.deepcopy(start).train(), net
    optimizer = torch.optim.SGD(student.parameters(), 0.3, momentum=0.9)
    torch.manual_seed(0)
    data = digits("digits_train.npz")
    for step in range(steps):
        x, y = data[step % len(data)]
        loss = nn.functional.cross_entropy(student(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for mean, value in zip(teacher.parameters(), student.parameters(), strict=True):
            mean.data.lerp_(value.data, 1.0 - decay)
    return teacher.eval()


def swapped(net: nn.Module) -> nn.Module:
    norm = norms(net)[-1]
    gamma, beta = norm.weight.data.clone(), norm.bias.data.clone()
    norm.weight.data, norm.bias.data = beta, gamma
    return net


def reset(net: nn.Module) -> nn.Module:
    for norm in norms(net):
        norm.reset_running_stats()
    return net


def cases(make: Callable[[], nn.Module]) -> Iterator[Case]:
    data = digits("digits_train.npz")
    pairs = [(x[i : i + 2], y[i : i + 2]) for x, y in data for i in range(0, len(x) - 1, 2)]
    signed = digits("digits_train.npz", lambda x: 2 * x - 1)
    yield Case("momentum 0 throughout: never updated", reset(make()), data)
    yield Case("EMA of the weights, statistics of the start", averaged(make(), make()), data)
    yield Case("statistics of inputs in [-1, 1]", trained(make(), signed, 0.1), data)
    yield Case("statistics of batches of 2, momentum 0.3", trained(make(), pairs, 0.3), data)
    yield Case("half of the weights pruned", pruned(make()), data)
    yield Case("weights of 4 bits", rounded(make()), data)
    yield Case("weights of 3 bits", rounded(make(), 3), data)
    yield Case("gamma and beta swapped in the last norm", swapped(make()), data)
    yield Case("healthy, recalibrated on inverted images", make(), digits("digits_train.npz", lambda x: 1 - x))
    yield Case("healthy, recalibrated on 0..255", make(), digits("digits_train.npz", lambda x: 255 * x))
    yield Case("healthy", make(), data)
    yield Case("healthy, 64 images", make(), data[:1])
    yield Case("healthy, 16 images", make(), [(x[:16], y[:16]) for x, y in data[:1]])


def accuracy(net: nn.Module, data: Loader) -> float:
    with torch.no_grad():
        right = sum(int((net(x).argmax(1) == y).sum()) for x, y in data)
    return right / sum(len(y) for _, y in data)


def row(case: Case, validation: Loader) -> str:
    """The second figure is what statistics measured by another road do, asked for or not."""
    before, forced = accuracy(case.net, validation), copy.deepcopy(case.net)
    for name, (mean, var) in population(case.net, [x for x, _ in case.data]).items():
        norm = forced.get_submodule(name)
        norm.running_mean.copy_(torch.from_numpy(mean))
        norm.running_var.copy_(torch.from_numpy(var))
    report = normdiag.recalibrate(case.net, case.data, eval_batches=validation, in_place=True).report
    figures = [f"{100 * each:.1f}" for each in (before, accuracy(forced, validation), accuracy(case.net, validation))]
    return f"| {case.name} | {' | '.join(figures)} | {report.outcome} |"


def main() -> None:
    torch.set_num_threads(1)
    validation = digits("digits.npz")
    nets: dict[str, Callable[[], nn.Module]] = {
        "digits_cnn": lambda: load(DigitsCNN(), "digits_cnn.pt"),
        "digits_mlp_batch_5000": lambda: load(DigitsMLP(norm="batch"), "digits_mlp_batch_5000.pt"),
    }
    for name, make in nets.items():
        print(f"\n{name}, {sum(len(y) for _, y in validation)} images held out\n")
        print("| case | before, % | with measured statistics, % | after, % | what it said |\n|---|---|---|---|---|")
        if name == "digits_cnn":
            stale = load(DigitsCNN(), "digits_cnn_averaged.pt")
            print(row(Case("averaged weights, update_bn forgotten", stale, digits("digits_train.npz")), validation))
            foreign = load(DigitsCNN(), "digits_cnn_foreign.pt")
            print(row(Case("statistics of another model", foreign, digits("digits_train.npz")), validation))
        for case in cases(make):
            print(row(case, validation), flush=True)


if __name__ == "__main__":
    main()
