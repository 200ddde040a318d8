"""Training runs made by hand."""

from __future__ import annotations

from normdiag.records.history import HistoryPoint, HistoryReport, HistoryStep


def training() -> HistoryReport:
    """Three checkpoints: a norm whose input widens, and a sigmoid that is not in the first of them."""
    steps = []
    for index, step in enumerate((100, 1000, 5000)):
        points = [HistoryPoint("norm1", "norm", "batch_norm", -0.6 - index, 0.1, 0.7 + index, drift=0.1, drift_se=0.01)]
        if index:
            points.append(HistoryPoint("act", "activation", "sigmoid", -1.0, 0.0, 1.0, moved=0.3, saturated=0.02))
        steps.append(HistoryStep(f"run/ckpt_{step}.pt", step, tuple(points), gap=0.25 - 0.01 * index, gradient=0.007))
    return HistoryReport(tuple(steps), "val.npz", 359)
