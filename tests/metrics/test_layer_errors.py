"""Errors of all figures, the split of the gap and the noise of batches, on the sample CNN, a small net and ResNet20."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import normdiag
from benchmarks.errors import Subject, compared, digits, resnet20
from benchmarks.split import outputs, recalibrated, scatter, share, shifted
from normdiag import DataOptions
from normdiag.metrics import batch_noise

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
    check_errors(compared("digits", repeats=30), DRIFTS)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_errors_of_all_figures_are_their_scatter_on_a_small_net() -> None:
    check_errors(compared("small", repeats=100), ALL)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_errors_are_their_scatter_on_resnet20(real: Callable[[str], Path]) -> None:
    real("cifar10/train_1000.npz")
    check_errors(compared("resnet20", repeats=40), DRIFTS)


@pytest.mark.parametrize("seen", [8, 16])
def test_noise_is_what_batches_of_that_size_really_do(seen: int) -> None:
    given = digits()
    real = scatter(given.net, torch.from_numpy(given.truth), 8)
    options = DataOptions(batch_size=seen, shuffled=False)
    found = {
        row.layer.name: batch_noise(row.own, 8)
        for row in normdiag.inspect(given.net, given.truth, data_options=options, rules=()).layers
        if row.own is not None
    }
    assert found.keys() == real.keys()
    for name, each in real.items():
        assert each * 0.8 <= (found[name] or 0.0) <= each * 1.25


def check_split(given: Subject, by: float, size: int) -> None:
    """Against the experiment on all whole batches."""
    net, x = shifted(given.net, by), torch.from_numpy(given.truth[: len(given.truth) // size * size])
    deployed, replaced = outputs(net, x, size), outputs(recalibrated(net, x, size), x, size)
    changed = (deployed.argmax(1) != replaced.argmax(1)).double().mean().item()
    report = normdiag.inspect(net, x.numpy(), data_options=DataOptions(batch_size=size), rules=())
    assert report.gap is not None and report.gap.explained_drift is not None and report.recalibration is not None
    assert report.gap.explained_drift == pytest.approx(share(net, x, size), abs=0.1)
    found = report.recalibration.change
    assert found.answers_changed is not None and found.answers_changed_se is not None
    assert found.answers_changed == pytest.approx(changed, abs=3 * found.answers_changed_se + 0.01)


@pytest.mark.parametrize(("by", "size"), [(0.0, 8), (0.1, 8), (0.1, 32), (0.4, 8)])
def test_the_split_of_the_gap_is_that_of_the_experiment(by: float, size: int) -> None:
    check_split(digits(), by, size)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("by", "size"), [(0.0, 32), (0.1, 8), (0.3, 32)])
def test_the_split_on_resnet20(by: float, size: int, real: Callable[[str], Path]) -> None:
    real("cifar10/train_1000.npz")
    check_split(resnet20(), by, size)
