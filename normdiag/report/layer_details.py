"""Each layer for somebody who looks closer: facts, numbers per channel, and what is drawn of them.

A page must stay small: of the layers that matter it has every channel, of the others the worst ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from normdiag.records import LayerMetrics, Report
from normdiag.records.figures import Histogram, LayerDetail, Scatter
from normdiag.report.abridge import Detail, severities
from normdiag.report.channel_values import ChannelDetail, channel_detail
from normdiag.report.words import kind_words, number, percent, with_error

# Channels of a layer that are kept where it does not matter: fewer in a model of so many layers that all of them
# together would pass IN_ALL, but never less than LEAST. FIRST is for all layers that matter together.
WORST, LEAST, IN_ALL, FIRST = 64, 16, 16_000, 6_000
BINS = 24
# What a histogram spans: from this percentile of the channels to that.
SPAN = (1.0, 99.0)

TITLES = {
    "corrected_d": "drift",
    "se_d": "± error",
    "stored_mean": "stored mean",
    "observed_mean": "observed mean",
    "stored_std": "stored deviation",
    "observed_std": "observed deviation",
    "channel_rms": "RMS",
    "rms_over_median": "RMS over median",
    "gamma": "gamma",
    "beta": "beta",
}
SCATTERS = (
    Scatter("Mean of each channel", "stored mean", "observed mean", diagonal=True),
    Scatter("Deviation of each channel", "stored deviation", "observed deviation", diagonal=True),
    Scatter("Gamma and beta", "gamma", "beta"),
)

# What is counted of a layer, the first that is known: the values, title, unit, and where they should lie.
HISTOGRAMS = (
    ("r", "Observed over stored deviation", "ratio", 1.0),
    ("rms_over_median", "RMS over the median channel", "ratio", 1.0),
    ("gamma", "Gamma", "gamma", None),
)


def layer_details(report: Report, detail: Detail) -> tuple[LayerDetail, ...]:
    """Every layer, in the order of the network."""
    few = max(LEAST, min(WORST, IN_ALL // max(len(report.layers), 1)))
    whole = {m.layer.name for m in report.layers} if detail.all_layers else set(_that_matter(report))
    beside = {each.layer: each for each in report.neighbours}
    details = (_layer(m, None if m.layer.name in whole else few) for m in report.layers)
    return tuple(
        replace(each, before=beside[each.name].before, after=beside[each.name].after) if each.name in beside else each
        for each in details
    )


def focus(report: Report) -> str:
    """The layer to look at first: the one at fault, else the one that drifts most; empty where nothing tells."""
    at_fault = [each.layers[0] for each in report.diagnosis if each.layers]
    return next((name for name in (*at_fault, *_by_drift(report)) if name in _names(report)), "")


def _names(report: Report) -> set[str]:
    return {m.layer.name for m in report.layers}


def _that_matter(report: Report) -> Iterator[str]:
    """Layers at fault, those that drift most, then those with findings, as long as there is room for their channels."""
    worst = severities(report.findings)
    at_fault = [name for each in report.diagnosis for name in each.layers[:1]]
    found = [m.layer.name for m in report.layers if worst.get(m.layer.name) in ("error", "warning")]
    channels = {m.layer.name: m.layer.channels or 0 for m in report.layers}
    left = FIRST
    for name in dict.fromkeys((*at_fault, *_by_drift(report)[:8], *found)):
        left -= channels.get(name, 0)
        if left < 0:
            return
        yield name


def _by_drift(report: Report) -> list[str]:
    known = [(m.drift.corrected, m.layer.name) for m in report.layers if m.drift and math.isfinite(m.drift.corrected)]
    return [name for _, name in sorted(known, reverse=True)]


def _layer(metrics: LayerMetrics, most: int | None) -> LayerDetail:
    layer, values = metrics.layer, channel_detail(metrics)
    kind = kind_words(layer) + ("" if layer.channels is None else f", {layer.channels:,} channels")
    facts = tuple(_facts(metrics))
    if values is None:
        return LayerDetail(layer.name, kind, facts)
    columns = _columns(values, values.order[:most])
    scatters = tuple(each for each in SCATTERS if each.x in columns and each.y in columns)
    hidden = 0 if most is None else max(len(values.order) - most, 0)
    return LayerDetail(layer.name, kind, facts, columns, hidden, scatters, _histogram(values))


def _number_with_error(value: float, error: float | None) -> str:
    return f"{number(value)} ± {number(error)}" if error else number(value)


def _facts(metrics: LayerMetrics) -> Iterator[tuple[str, str]]:
    layer = metrics.layer
    if metrics.drift is not None:
        yield "drift", with_error(metrics.drift.corrected, metrics.drift.se)
    if metrics.own is not None:
        yield "local drift", with_error(metrics.own.corrected, metrics.own.se)
    if metrics.groups is not None:
        groups = metrics.groups
        yield "largest |x|", number(groups.abs_max)
        yield "smallest variance", number(groups.variance_min)
        yield "median variance", _number_with_error(groups.variance_median, groups.variance_median_se)
        ratio = _number_with_error(groups.outlier_ratio, groups.outlier_ratio_se)
        yield "outlier channel", f"#{groups.outlier_channel}, {ratio} times the median one"
        if groups.below_eps:
            yield "below eps", f"{percent(groups.below_eps)} of the groups"
    for name, value in (("eps", layer.eps), ("momentum", layer.momentum)):
        if value is not None:
            yield name, number(value)
    if layer.num_batches_tracked is not None:
        yield "batches tracked", f"{layer.num_batches_tracked:,}"
    for note in layer.notes:
        yield "note", note


def _columns(values: ChannelDetail, shown: Sequence[int]) -> dict[str, list[float]]:
    rows = np.asarray(shown, np.int64)
    known = {title: values.values[name] for name, title in TITLES.items() if name in values.values}
    return {"channel": [float(row) for row in shown]} | {
        title: column[rows].tolist() for title, column in known.items()
    }


def _histogram(values: ChannelDetail) -> Histogram | None:
    """Of all channels: observed over stored deviation, else RMS over that of the median channel, else gamma."""
    for name, title, unit, agreement in HISTOGRAMS:
        column = values.values.get(name)
        finite = None if column is None else column[np.isfinite(column)]
        if finite is not None and finite.size:
            low, high = map(float, np.percentile(finite, SPAN))
            low, high = (0.0, max(high, 2.0)) if agreement is not None else (low, high if high > low else low + 1.0)
            counts, _ = np.histogram(np.clip(finite, low, high), BINS, (low, high))
            return Histogram(title, unit, low, high, tuple(map(int, counts)), agreement)
    return None
