"""Errors of all figures, the split of the gap and the noise of batches, on the sample CNN, a small net and ResNet20."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import normdiag
from benchmarks.errors import compared, digits
from normdiag import DataOptions
from normdiag.metrics import batch_noise, measure_layers
from normdiag.models import from_module
from normdiag.observe.pytorch import TorchRunner
from normdiag.records import Batch, Evidence
from tests.nets.resnet20 import load_resnet20, prepare

pytestmark = pytest.mark.filterwarnings("ignore")


def check_errors(rows: dict[tuple[str, str], tuple[float, float]], kinds: frozenset[str]) -> None:
    """Each kind of figure within bounds by its median, and intervals that hold the truth as often as they say."""
    found = {kind: np.array([row for (_, each), row in rows.items() if each == kind]) for kind in kinds}
    for kind, each in found.items():
        assert len(each), f"no {kind}"
        assert 0.75 <= np.median(each[:, 0]) <= 1.35, (kind, each)
        # a gap, the root of a sum of squares, is larger in few samples than in many
        assert np.mean(each[:, 1]) >= (0.75 if kind.startswith("gap") else 0.88), (kind, each)
    covers = [each[:, 1].mean() for kind, each in found.items() if not kind.startswith("gap")]
    assert 0.92 <= np.mean(covers) <= 1.0


DRIFTS = frozenset({"drift as deployed", "local drift"})
ALL = DRIFTS | {
    "median variance of a group",
    "outlier channel's ratio",
    "saturated share",
    "mean squared derivative",
    "gradient along the depth",
    "gap: relative RMS",
    "gap: answers changed",
    "gap: JS divergence",
    "gap: share of drift",
}


def test_errors_are_their_scatter_on_the_sample_cnn() -> None:
    check_errors(compared("digits", samples=128, batch=16, repeats=30), DRIFTS)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_errors_of_all_figures_are_their_scatter_on_a_small_net() -> None:
    check_errors(compared("small", samples=128, batch=16, repeats=100), ALL)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_errors_are_their_scatter_on_resnet20(real: object) -> None:
    real("cifar10/train_1000.npz")  # type: ignore[operator]
    check_errors(compared("resnet20", samples=256, batch=32, repeats=40), DRIFTS)


def test_noise_is_what_batches_of_that_size_really_do() -> None:
    given = digits()
    runner, x = TorchRunner(from_module(given.net)), given.truth

    def measured(size: int) -> tuple[list[Evidence], Evidence]:
        starts = range(0, len(x) - size + 1, size)
        parts = [runner.observe(Batch((x[s : s + size],), first=s, index=i)) for i, s in enumerate(starts)]
        return parts, sum(parts[1:], parts[0])

    parts, whole = measured(8)
    layers = runner.layers()
    for at_16, truth, *batches in zip(
        measure_layers(layers, measured(16)[1]),
        measure_layers(layers, whole),
        *(measure_layers(layers, each) for each in parts),
        strict=True,
    ):
        assert truth.own is not None and at_16.own is not None
        own = truth.own
        off = [(row.own.z - own.z) ** 2 + (row.own.r - own.r) ** 2 for row in batches if row.own is not None]
        real = float(np.sqrt(np.mean(off)))
        assert 0.8 <= (batch_noise(truth.own, 8) or 0.0) / real <= 1.25
        assert 0.8 <= (batch_noise(at_16.own, 8) or 0.0) / real <= 1.25


def recalibrated(net: nn.Module, x: np.ndarray, size: int) -> nn.Module:
    """A copy with the statistics that all batches show in train mode; no code of the package."""
    copied = copy.deepcopy(net).train()
    sums: dict[nn.Module, list[torch.Tensor]] = {}

    def see(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        values = arguments[0].double().transpose(0, 1).flatten(1)
        found = torch.stack([values.sum(1), values.square().sum(1), torch.full((len(values),), values.shape[1])])
        sums.setdefault(module, []).append(found)

    norms = [each for each in copied.modules() if isinstance(each, nn.BatchNorm2d)]
    hooks = [each.register_forward_pre_hook(see) for each in norms]
    with torch.no_grad():
        for start in range(0, len(x), size):
            copied(torch.from_numpy(x[start : start + size]))
    for hook in hooks:
        hook.remove()
    for norm in norms:
        total, square, count = torch.stack(sums[norm]).sum(0)
        norm.running_mean.copy_(total / count)  # type: ignore[union-attr,operator]
        norm.running_var.copy_(square / count - (total / count) ** 2)  # type: ignore[union-attr,operator]
    return copied.eval()


def outputs(net: nn.Module, x: np.ndarray, size: int, *, train: bool) -> torch.Tensor:
    copied = copy.deepcopy(net).train(train)
    with torch.no_grad():
        return torch.cat([copied(torch.from_numpy(x[s : s + size])) for s in range(0, len(x), size)]).double()


def check_split(net: nn.Module, x: np.ndarray, size: int) -> None:
    deployed, batched = outputs(net, x, size, train=False), outputs(net, x, size, train=True)
    replaced = outputs(recalibrated(net, x, size), x, size, train=False)
    share = 1.0 - ((batched - replaced).square().sum() / (batched - deployed).square().sum()).item()
    changed = (deployed.argmax(1) != replaced.argmax(1)).double().mean().item()
    report = normdiag.inspect(net, x, data_options=DataOptions(batch_size=size), rules=())
    assert report.gap is not None and report.gap.explained_drift is not None and report.recalibration is not None
    assert report.gap.explained_drift == pytest.approx(max(share, 0.0), abs=0.1)
    found = report.recalibration.change
    assert found.answers_changed is not None and found.answers_changed_se is not None
    assert found.answers_changed == pytest.approx(changed, abs=3 * found.answers_changed_se + 0.01)


def shifted(net: nn.Module, by: float) -> nn.Module:
    """Stored means that are off by so many standard deviations at random."""
    torch.manual_seed(0)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean += by * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)  # type: ignore[operator,union-attr,arg-type]
    return net.eval()


@pytest.mark.parametrize(("by", "size"), [(0.0, 8), (0.1, 8), (0.1, 32), (0.4, 8)])
def test_the_split_of_the_gap_is_that_of_the_experiment(by: float, size: int, samples: Path) -> None:
    given = digits()
    check_split(shifted(given.net, by), given.truth, size)


@pytest.mark.slow
@pytest.mark.parametrize(("by", "size"), [(0.0, 32), (0.1, 8), (0.3, 32)])
def test_the_split_on_resnet20(by: float, size: int, real: Callable[[str], Path]) -> None:
    net = load_resnet20(real("akamaster/resnet20-12fca82f.th"))
    check_split(shifted(net, by), prepare(real("cifar10/train_1000.npz")), size)
