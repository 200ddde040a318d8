"""What is seen along the depth of a network, as charts: each beside the table that has its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from normdiag.records import ActivationMetrics, Attribution, Drift, GradientProduct, LayerMetrics, RangeSpread, Report
from normdiag.records.figures import Chart, Limit, Series
from normdiag.report.words import short_name

if TYPE_CHECKING:
    from normdiag.records.diff import LayerDifference, Parting, PlaceApart
    from normdiag.records.history import HistoryPoint, HistoryStep
    from normdiag.records.path import PathReport
    from normdiag.records.recalibration import LayerChange
    from normdiag.records.reference import PointDrift

# Values that spread over more than this share of the median are drawn on a logarithmic axis.
SPREAD = 40.0
STANDARD_DEVIATIONS = "stored standard deviations"


def drift_chart(report: Report, layers: Sequence[LayerMetrics], limit: float) -> Chart:
    """Drift as deployed, over it the part that begins in the layer itself; the layers at fault are marked."""
    series = [_drifts("drift", [m.drift for m in layers])]
    if any(m.own for m in layers):
        series.append(_drifts("local drift", [m.own for m in layers]))
    return Chart(
        "Drift along the depth",
        STANDARD_DEVIATIONS,
        _names(layers),
        tuple(series),
        limits=(Limit(limit, f"reported from {limit:g} on"),),
        marked=faulty_layers(report),
        logarithmic=spreads(series[0].values),
    )


def reference_chart(points: Sequence[PointDrift], at_fault: frozenset[str]) -> Chart:
    """How far what enters each norm and activation, the inputs and the outputs have moved from the reference."""
    series = _drifts("drift", [each.drift for each in points])
    names = [short_name(each.point.name) for each in points]
    unit = "standard deviations of the reference"
    wide = spreads(series.values)
    return Chart("Drift from the reference, along the depth", unit, names, (series,), marked=at_fault, logarithmic=wide)


def faulty_layers(report: Report) -> frozenset[str]:
    """The layer that each cause names first, unless it is for information."""
    return frozenset(short_name(n) for each in report.diagnosis for n in each.layers[:1] if each.severity != "info")


def outlier_chart(layers: Sequence[LayerMetrics]) -> Chart:
    """How far the largest channel of each layer stands out: what makes transformers hard to quantize."""
    ratios = [m.groups.outlier_ratio if m.groups else math.nan for m in layers]
    return Chart(
        "Outlier channels along the depth",
        "largest channel over the median one",
        _names(layers),
        (Series("outlier channel", ratios),),
        logarithmic=spreads(ratios),
    )


def saturation_chart(activations: Sequence[ActivationMetrics]) -> Chart:
    """The share of values in the flat tails, and that of units which never leave them."""
    saturated = Series(
        "saturated or inactive",
        [100.0 * a.saturated_fraction for a in activations],
        [100.0 * (a.saturated_se or 0.0) for a in activations],
    )
    dead = Series("dead units", [100.0 * a.dead_units / max(a.units, 1) for a in activations])
    names = [short_name(a.name) for a in activations]
    return Chart("Saturation along the depth", "%", names, (saturated, dead), "bars")


def gradient_chart(activations: Sequence[ActivationMetrics], gradient: GradientProduct) -> Chart | None:
    """What a chain of the activations up to each would pass of the gradient; None where it is not all of them."""
    if gradient.depth != len(activations):
        return None
    squares = [a.mean_squared_derivative for a in activations]
    passed = [math.sqrt(max(product, 0.0)) for product in accumulate(squares, lambda a, b: a * b)]
    sigmoids = [0.25 ** (depth + 1) for depth in range(len(squares))]
    series = (Series("this network", passed), Series("as many sigmoids, at most", sigmoids))
    names = [short_name(a.name) for a in activations]
    title = "Gradient that the activations let through, along the depth"
    return Chart(title, "share, root mean square", names, series, "lines", logarithmic=True)


def attribution_chart(ranked: Sequence[Attribution], layers: Sequence[LayerMetrics]) -> Chart:
    """How much of the gap goes with each layer, in the order of the network."""
    removed = {each.layer: 100.0 * each.removed for each in ranked}
    known = [m for m in layers if m.layer.name in removed]
    series = Series("gap removed", [removed[m.layer.name] for m in known])
    return Chart("What goes of the gap, along the depth", "%", _names(known), (series,))


def recalibration_chart(layers: Sequence[LayerChange]) -> Chart:
    """How far off the statistics of each layer are before, and how far those measured may be."""
    before = Series("before: drift of the stored", [e.drift for e in layers], [e.se for e in layers])
    after = Series("after: error of the measured", [math.nan if e.kept else e.error for e in layers])
    names = [short_name(each.layer) for each in layers]
    wide = spreads([*before.values, *after.values])
    title = "Statistics before and after, along the depth"
    return Chart(title, STANDARD_DEVIATIONS, names, (before, after), "grouped", logarithmic=wide)


def ranges_chart(ranges: Sequence[RangeSpread]) -> Chart:
    """How unequal the channels of each layer's weights are, before and after folding."""
    before = Series("before", [each.spread_before for each in ranges])
    after = Series("after", [each.spread_after for each in ranges])
    names = [short_name(each.layer) for each in ranges]
    unit = "largest over smallest range of a channel"
    wide = spreads([*before.values, *after.values])
    return Chart("Spread of the weight ranges", unit, names, (before, after), "grouped", logarithmic=wide)


def places_chart(names: Sequence[str], places: Sequence[PlaceApart], parting: Parting | None, allowed: str) -> Chart:
    """How far two models are apart after each layer, and how far they may be; the first that departs is marked."""
    apart = Series("difference", [each.relative for each in places])
    bound = Series(allowed, [each.bound for each in places])
    marked = frozenset() if parting is None else frozenset({short_name(parting.a)})
    title = "Difference of A and B after each layer"
    return Chart(title, "share of A's largest value", names, (apart, bound), "lines", marked=marked, logarithmic=True)


def differences_chart(layers: Sequence[LayerDifference]) -> Chart:
    """How far what the two models store is apart, layer by layer."""
    weights = [math.nan if each.weights is None else each.weights.relative for each in layers]
    affine = [math.nan if each.affine is None else each.affine.relative for each in layers]
    statistics = [math.nan if each.statistics is None else each.statistics for each in layers]
    told = {"weights": weights, "gamma and beta": affine, "statistics": statistics}
    series = tuple(Series(title, values) for title, values in told.items() if not all(map(math.isnan, values)))
    wide = spreads([*weights, *affine, *statistics])
    title, unit = "A against B, layer by layer", "share of A; statistics: stored standard deviations"
    return Chart(title, unit, [short_name(each.a) for each in layers], series, "grouped", logarithmic=wide)


def run_chart(steps: Sequence[str], run: Sequence[HistoryStep]) -> Chart:
    """How far the output is from that under batch statistics, over the training."""
    gap = Series("gap", [math.nan if each.gap is None else 100.0 * each.gap for each in run])
    return Chart("Gap over the steps", "%", steps, (gap,), "lines", logarithmic=spreads(gap.values))


def percentiles_chart(title: str, steps: Sequence[str], points: Sequence[HistoryPoint | None]) -> Chart:
    """What enters a layer, over the training: figure 1 of Ioffe and Szegedy (2015), which introduced BatchNorm."""
    told = {"85 %": "high", "median": "middle", "15 %": "low"}
    series = (
        Series(words, [math.nan if each is None else getattr(each, name) for each in points])
        for words, name in told.items()
    )
    return Chart(title, "value", steps, tuple(series), "lines")


def path_charts(report: PathReport, places: Sequence[str]) -> tuple[Chart, Chart]:
    """Loss and accuracy on the way from one checkpoint to another."""

    def series(name: str, scale: float) -> tuple[Series, ...]:
        plain = Series("interpolated statistics", [scale * getattr(each, name) for each in report.points])
        anew = [scale * getattr(each, f"recalibrated_{name}") for each in report.points]
        return (plain, Series("recalibrated statistics", anew)) if report.layers else (plain,)

    losses = series("loss", 1.0)
    wide = spreads([value for each in losses for value in each.values])
    return (
        Chart("Loss from A to B", "cross-entropy, nats", places, losses, "lines", logarithmic=wide),
        Chart("Accuracy from A to B", "%", places, series("accuracy", 100.0), "lines"),
    )


def spreads(values: Sequence[float]) -> bool:
    """Whether most values would be too small to see beside the largest."""
    positive = np.array([value for value in values if math.isfinite(value) and value > 0])
    return positive.size > 1 and float(positive.max()) > SPREAD * float(np.median(positive))


def _drifts(title: str, drifts: Sequence[Drift | None]) -> Series:
    def each(value: Callable[[Drift], float]) -> list[float]:
        return [math.nan if drift is None else value(drift) for drift in drifts]

    return Series(title, each(lambda drift: drift.corrected), each(lambda drift: drift.se))


def _names(layers: Sequence[LayerMetrics]) -> list[str]:
    return [short_name(m.layer.name) for m in layers]
