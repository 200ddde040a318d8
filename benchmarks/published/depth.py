"""Estimation shift grows with depth while each layer's own stays flat (Huang et al. 2022, section 3).

The statistics of a plain net of 18 convolutions with BatchNorm are estimated in training mode from a few batches, and
held against all digits: as deployed, behind layers whose statistics are off themselves, and with batch statistics in
all layers before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

import normdiag
from benchmarks.diagnosis.subjects import recalibrated
from benchmarks.published.averaged import HELD, digits, plain, trained
from benchmarks.published.plots import Plot, Series

STEPS, SEEDS = 300, 3
CASES = {
    "16 samples, batches of 4": (16, 4),
    "32 samples, batches of 8": (32, 8),
    "64 samples, batches of 16": (64, 16),
}


@dataclass(frozen=True)
class AtDepth:
    """A layer's drift as deployed and its local one, each without sampling noise."""

    deployed: float
    local: float


def network() -> nn.Module:
    """Trained, in eval mode."""
    net, (x, y) = plain(), digits()
    for _ in trained(net, x[HELD:], y[HELD:], STEPS, 0):
        pass
    return net.eval()


def measured(net: nn.Module, samples: int, batch: int) -> list[AtDepth]:
    """The layers in the order in which they run, in the mean over some draws of the samples."""
    x, runs = digits()[0], []
    for seed in range(SEEDS):
        chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:samples]
        report = normdiag.inspect(recalibrated(net, x[chosen], batch), x, rules=())
        runs.append([(row.drift.corrected, row.own.corrected) for row in report.layers if row.drift and row.own])
    return [AtDepth(*row) for row in np.mean(runs, 0)]


def results() -> dict[str, list[AtDepth]]:
    """By case, the layers."""
    net = network()
    return {name: measured(net, *case) for name, case in CASES.items()}


def table(found: dict[str, list[AtDepth]]) -> Iterator[str]:
    """A row for each case: drift in the first and last third of the layers, and how it goes with depth."""
    yield "| statistics from | as deployed: first third, last third, slope | local: first third, last third, slope |"
    yield "|---|---:|---:|"
    for name, rows in found.items():
        cells = [_cell([getattr(each, kind) for each in rows]) for kind in ("deployed", "local")]
        yield f"| {name} | {cells[0]} | {cells[1]} |"


def _cell(values: Sequence[float]) -> str:
    third = len(values) // 3
    slope = np.polyfit(np.arange(len(values)), values, 1)[0]
    return f"{np.mean(values[:third]):.2f}, {np.mean(values[-third:]):.2f}, {slope:+.3f} a layer"


def plot(found: dict[str, list[AtDepth]]) -> str:
    """Drift by depth of the first case."""
    rows = next(iter(found.values()))
    places = range(1, len(rows) + 1)
    lines = (
        Series("as deployed", "bad", tuple(zip(places, (each.deployed for each in rows), strict=True)), line=True),
        Series("local", "good", tuple(zip(places, (each.local for each in rows), strict=True)), line=True),
    )
    title = "Drift of the BatchNorm layers of a plain net by depth"
    return Plot(title, "BatchNorm layer", "drift, in stored standard deviations", lines).svg()
