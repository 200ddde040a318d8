"""One look at a model in training: what `inspect` measures, and the few figures of it that are worth a curve."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import nn

from normdiag.callbacks.undisturbed import undisturbed
from normdiag.commands.judge import Deployment, judged
from normdiag.commands.measure import measured_report, open_runner
from normdiag.commands.sources import open_source
from normdiag.data import DataOptions
from normdiag.graph import open_model
from normdiag.ops import SATURATION_THRESHOLD
from normdiag.records import Report
from normdiag.results.inspection import Inspection
from normdiag.results.shown import result_of
from normdiag.rules import RULES

# Those on the graph would export the model each time.
WITHOUT_GRAPH = tuple(rule for rule in RULES if not rule.needs_graph)


def look(module: nn.Module, batches: Sequence[Any], samples: int) -> Inspection:
    """The module on so many samples of these batches, without the rules on its graph.

    Everything is as before, random numbers included.

    Raises InputError where the model does not run on them.
    """
    with undisturbed():
        model = open_model(module)
        runner = open_runner(model, None, SATURATION_THRESHOLD)
        source = open_source(model, list(batches), (), DataOptions(max_samples=samples))
        report = measured_report(model, runner, source, False, None)
        return result_of(Inspection, judged(report, model, WITHOUT_GRAPH, Deployment()))


def figures(report: Report) -> dict[str, float]:
    """By name: the largest and the median drift, the largest local drift, the gap, outliers, saturation, dead units.

    `normdiag/gap` is the relative RMS difference of the outputs, `normdiag/answers` the share of top classes that
    differ, `normdiag/outliers` the largest channel over the median one where LayerNorm or RMSNorm sees it,
    `normdiag/saturated` the share of the activation that is most so, `normdiag/dead` that of all units. What was not
    measured, or is not finite, has no figure.
    """
    return {f"normdiag/{name}": value for name, value in _figures(report) if math.isfinite(value)}


def _figures(report: Report) -> Iterator[tuple[str, float]]:
    drifts = [each.drift.corrected for each in report.layers if each.drift is not None]
    local = [each.own.corrected for each in report.layers if each.own is not None]
    if drifts:
        yield "drift", float(np.max(drifts))
        yield "drift_median", float(np.median(drifts))
    if local:
        yield "local_drift", float(np.max(local))
    if report.gap is not None:
        yield "gap", report.gap.relative_rms
        if report.gap.top1_disagreement is not None:
            yield "answers", report.gap.top1_disagreement
    outliers = [each.groups.outlier_ratio for each in report.layers if each.groups is not None]
    if outliers:
        yield "outliers", float(np.max(outliers))
    if report.activations:
        yield "saturated", max(each.saturated_fraction for each in report.activations)
        units = sum(each.units for each in report.activations)
        yield "dead", sum(each.dead_units for each in report.activations) / units if units else math.nan
