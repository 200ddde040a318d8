"""Parts of a report as rows, and rows as a data frame of the library at hand."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from normdiag.errors import UsageError
from normdiag.records import ActivationMetrics, Finding, LayerMetrics, Report, Severity
from normdiag.report.abridge import severities
from normdiag.report.channel_values import channel_detail, find_layer

TableOf = Literal["layers", "activations", "findings"]
Library = Literal["pandas", "polars"]
Row = dict[str, Any]
LIBRARIES: tuple[Library, ...] = ("pandas", "polars")


def rows(report: Report, of: TableOf, channels: str | None = None) -> list[Row]:
    """A row for each layer, activation or finding or, where `channels` names a layer, for each channel of it.

    Drift, z and r are in stored standard deviations, without the noise floor, each beside its standard error; None
    stands for what was not measured. Raises UsageError for a layer that is not there and for another table.
    """
    if channels is not None:
        return _channels(find_layer(report, channels))
    if of == "layers":
        worst = severities(report.findings)
        return [_layer(each, worst.get(each.layer.name)) for each in report.layers]
    if of == "activations":
        return [_activation(each) for each in report.activations]
    if of == "findings":
        return [_finding(each) for each in report.findings]
    raise UsageError(f"there is no table of {of!r}: give layers, activations or findings")


def data_frame(table: Sequence[Mapping[str, Any]], library: Library | None = None) -> Any:
    """The rows as a DataFrame of that library: without one of what is imported, else of what is installed."""
    chosen = library or next((each for each in LIBRARIES if each in sys.modules), None)
    chosen = chosen or next((each for each in LIBRARIES if find_spec(each) is not None), None)
    if chosen is None or find_spec(chosen) is None:
        raise UsageError(
            f"a data frame needs {chosen or 'pandas or polars'}, which is not installed: pip install "
            f"{chosen or 'pandas'}; to_dict() does without"
        )
    return import_module(chosen).DataFrame([dict(row) for row in table])


def _layer(metrics: LayerMetrics, severity: Severity | None) -> Row:
    layer, drift, own, groups = metrics.layer, metrics.drift, metrics.own, metrics.groups
    return {
        "layer": layer.name,
        "kind": layer.kind,
        "severity": severity,
        "drift": drift and drift.corrected,
        "drift_se": drift and drift.se,
        "local_drift": own and own.corrected,
        "local_drift_se": own and own.se,
        "z": drift and drift.over_z.rms,
        "r": drift and drift.over_r.rms,
        "worst_channel": drift and drift.max_channel,
        "worst_channel_drift": drift and drift.max,
        "batch_noise": metrics.noise,
        "effective_samples": metrics.effective_samples,
        "smallest_variance": groups and groups.variance_min,
        "largest_input": groups and groups.abs_max,
        "outlier_ratio": groups and groups.outlier_ratio,
        "channels": layer.channels,
        "eps": layer.eps,
        "momentum": layer.momentum,
        "batches_tracked": layer.num_batches_tracked,
        "calls": metrics.calls,
    }


def _activation(each: ActivationMetrics) -> Row:
    return {
        "activation": each.name,
        "kind": each.kind,
        "units": each.units,
        "dead_units": each.dead_units,
        "saturated": each.saturated_fraction,
        "saturated_se": each.saturated_se,
        "mean_squared_derivative": each.mean_squared_derivative,
    }


def _finding(each: Finding) -> Row:
    return {
        "rule": each.rule,
        "name": each.name,
        "severity": each.severity,
        "confidence": each.confidence,
        "layers": list(each.layers),
        "message": each.message,
        "remedy": each.remedy,
    }


def _channels(metrics: LayerMetrics) -> list[Row]:
    """Worst first, as the command lists them."""
    detail = channel_detail(metrics)
    if detail is None:
        return []
    return [{"channel": i} | {name: float(each[i]) for name, each in detail.values.items()} for i in detail.order]
