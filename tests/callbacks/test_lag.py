"""Statistics that lag the weights are warned of, with the reason; drift that has another reason is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from normdiag.callbacks import Watch
from normdiag.callbacks.lag import lag
from normdiag.records import Finding, LayerMetrics, Report
from tests.report import reports

DRIFT = Finding("ND301", "drift", "error", "high", ("bn1",), "off by 0.8", "recalibrate")


def seen(momentum: float | None = 0.1, *, step: float = 0.0, found: tuple[Finding, ...] = (DRIFT,)) -> Report:
    """A report whose statistics are those of a step of the training."""

    def moved(metrics: LayerMetrics) -> LayerMetrics:
        layer = metrics.layer
        if layer.running_mean is None:
            return metrics
        return replace(metrics, layer=replace(layer, running_mean=layer.running_mean + step, momentum=momentum))

    report = reports.faulty()
    return replace(report, layers=tuple(map(moved, report.layers)), findings=found, diagnosis=())


def test_a_small_momentum_is_named_with_what_it_means() -> None:
    said = lag(seen(0.002), seen(0.002, step=1.0), moved=True)
    assert said is not None and "momentum 0.002" in said and "about 500 batches behind" in said
    assert "drift " in said, "the figures are told as well"


def test_an_average_since_the_start_is_named() -> None:
    said = lag(seen(None), seen(None, step=1.0), moved=True)
    assert said is not None and "momentum=None" in said


def test_statistics_that_stand_still_are_named() -> None:
    said = lag(seen(), seen(), moved=True)
    assert said is not None and "did not change while the weights did" in said and "update_bn" in said


def test_an_average_whose_statistics_are_copied_is_known_as_such() -> None:
    said = lag(seen(), seen(step=1.0), moved=True, averaged=True)
    assert said is not None and "averaged weights" in said


@pytest.mark.parametrize(
    ("before", "now", "moved"),
    [
        (seen(), seen(step=1.0), True),  # follows within 10 batches: a drift of another reason
        (seen(0.002, found=()), seen(0.002, step=1.0), True),  # for the first time
        (seen(0.002), seen(0.002, step=1.0, found=()), True),  # no longer
        (seen(0.002, found=(replace(DRIFT, severity="info"),)), seen(0.002, step=1.0), True),
        (seen(), seen(), False),  # nothing moved
    ],
)
def test_what_is_no_lag_is_not_called_so(before: Report, now: Report, moved: bool) -> None:
    assert lag(before, now, moved=moved) is None


class TwoNorms(nn.Sequential):
    def __init__(self, momentum: float | None) -> None:
        super().__init__(
            nn.Linear(12, 24),
            nn.BatchNorm1d(24, momentum=momentum),
            nn.ReLU(),
            nn.Linear(24, 24),
            nn.BatchNorm1d(24, momentum=momentum),
            nn.ReLU(),
            nn.Linear(24, 4),
        )


def warnings_of(momentum: float | None, *, ema: bool = False, frozen: bool = False) -> list[str]:
    """What is said while a small classifier is trained in 200 steps, with a look every 50."""
    torch.manual_seed(0)
    data = torch.randn(512, 12) * torch.linspace(0.5, 2.0, 12) + 1.0
    labels = (data[:, :4] * torch.randn(4)).argmax(1)
    net = TwoNorms(momentum)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.99)) if ema else None
    optimizer = torch.optim.SGD(net.parameters(), 0.3, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, 200)
    said: list[str] = []
    watch = Watch(list(data[:128].split(32)), every_n_steps=50, max_share=None, warn=said.append)
    for step in range(1, 201):
        net.eval() if frozen else net.train()
        rows = torch.randint(len(data), (32,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(data[rows]), labels[rows]).backward()
        optimizer.step()
        schedule.step()
        if average is not None:
            average.update_parameters(net)
        watch(net if average is None else average, step)
    return said


def test_a_healthy_training_is_not_warned_of() -> None:
    assert warnings_of(0.1) == []


@pytest.mark.parametrize(
    ("momentum", "how", "reason"),
    [
        (0.001, {}, "about 1,000 batches behind"),
        (0.1, {"frozen": True}, "did not change"),
        (0.1, {"ema": True}, "averaged weights"),
    ],
)
def test_real_trainings_are_warned_of_once(momentum: float, how: dict[str, bool], reason: str) -> None:
    said = warnings_of(momentum, **how)
    assert len(said) == 1 and reason in said[0] and said[0].startswith("step ")
    assert len(said[0]) < 700
