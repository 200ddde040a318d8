"""Estimation shift grows with depth while each layer's own stays flat (Huang et al. 2022, section 3).

The statistics of every layer of ResNet20 are estimated from a few batches in training mode, and held against 1,000
images: as deployed, behind layers whose statistics are off themselves, and with batch statistics in all layers before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

import normdiag
from benchmarks.published.data import fed, images, network
from benchmarks.published.plots import Plot, Series


@dataclass(frozen=True)
class AtDepth:
    """A layer's drift as deployed and its local one, each without sampling noise."""

    name: str
    deployed: float
    local: float


def estimated(samples: int, batch: int) -> nn.Module:
    """The net with the mean statistics of batches of so few samples, all in training mode at once."""
    net = network()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        for part in fed(images()[0][:samples]).split(batch):
            net.train()(part)
    return net.eval()


def measured(net: nn.Module) -> list[AtDepth]:
    """Layers in the order in which they run."""
    report = normdiag.inspect(net, fed(images()[0]), rules=())
    return [
        AtDepth(row.layer.name, row.drift.corrected, row.own.corrected)
        for row in report.layers
        if row.drift is not None and row.own is not None
    ]


CASES = {"8 samples, batches of 2": (8, 2), "16 samples, batches of 4": (16, 4), "32 samples, batches of 8": (32, 8)}


def results() -> dict[str, list[AtDepth]]:
    """By case, the layers."""
    return {name: measured(estimated(*case)) for name, case in CASES.items()}


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
    title = "Drift of the BatchNorm layers of ResNet20 by depth"
    return Plot(title, "BatchNorm layer", "drift, in stored standard deviations", lines).svg()
