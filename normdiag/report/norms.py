"""The normalization layers: against data where it was run, else what the file says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from normdiag.records import Drift, LayerMetrics, Report
from normdiag.records.document import Column, Section, Table
from normdiag.records.figures import Chart
from normdiag.report.abridge import Detail, choose, left_out, severities
from normdiag.report.charts import drift_chart, outlier_chart
from normdiag.report.header import RANDOM
from normdiag.report.words import KIND_WORDS, MISSING, aligned_errors, count, fixed, number, short_name

Layers = Sequence[LayerMetrics]
# Healthy networks show up to 0.4 without their training augmentation; ND301 reports from 0.5 on.
RAISED, HIGH = 0.25, 0.5
Weight = Callable[[LayerMetrics], float | None]


def norms(report: Report, detail: Detail) -> Iterator[Section]:
    """One table for layers with drift, one for those that normalize by groups, one for those only read."""
    if not any(m.drift or m.groups for m in report.layers):
        yield from _static(report, report.layers, detail)
        return
    on = RANDOM if report.data and report.data.random else "the data"
    yield from _drifts(report, [m for m in report.layers if m.drift], on, detail)
    yield from _groups(report, [m for m in report.layers if m.groups and not m.drift], on, detail)
    yield from _static(report, [m for m in report.layers if not m.drift and not m.groups], detail)


def _drifts(report: Report, layers: Layers, on: str, detail: Detail) -> Iterator[Section]:
    def columns(shown: Layers) -> list[Column]:
        columns = [
            *_identity(shown),
            Column("drift", aligned_errors([_estimate(m.drift) for m in shown])),
            Column("level", [_word(m.drift) for m in shown], keep=5, right=False),
        ]
        if any(m.own for m in shown):
            short = [fixed(m.own.corrected) if m.own else MISSING for m in shown]
            own = aligned_errors([_estimate(m.own) for m in shown])
            columns.append(Column("local drift", own, "own", short, 4))
        columns.append(Column("worst channel", [_worst(m.drift) for m in shown], "worst ch.", keep=3))
        if any(m.noise is not None for m in shown):
            noise = [MISSING if m.noise is None else fixed(m.noise) for m in shown]
            batch = report.gap.batch_size if report.gap else report.data.batch_size if report.data else 0
            columns.append(Column(f"noise at batch {batch:,}", noise, "noise", keep=2))
        return columns

    legend = (
        "drift ± error: how far the layer's output is off, in stored standard deviations; local drift: the "
        "same with the layers before it corrected; noise: what one batch is off by chance"
    )
    title = f"Stored statistics against {on}"
    yield from _table(report, layers, columns, _corrected, title, legend, detail, drift_chart(report, layers, HIGH))


def _word(drift: Drift | None) -> str:
    """How a drift is to be taken."""
    if drift is None or drift.corrected != drift.corrected:
        return MISSING
    return "high" if drift.lower > HIGH else "raised" if drift.lower > RAISED else "ok"


def _groups(report: Report, layers: Layers, on: str, detail: Detail) -> Iterator[Section]:
    def columns(shown: Layers) -> list[Column]:
        groups = [m.groups for m in shown if m.groups]
        flags = [_flags(m) for m in shown]
        ratio = [f"{number(g.outlier_ratio)}x #{g.outlier_channel}" for g in groups]
        return [
            *_identity(shown),
            Column("smallest variance", [number(g.variance_min) for g in groups], "min var"),
            Column("median variance", [number(g.variance_median) for g in groups], "med. var", keep=3),
            Column("eps", [number(m.layer.eps) for m in shown], keep=4),
            Column("largest |x|", [number(g.abs_max) for g in groups], "max |x|", keep=5),
            Column("outlier channel", ratio, "outlier", [f"{number(g.outlier_ratio)}x" for g in groups], keep=2),
            *([Column("warning", flags, "warns", keep=6, right=False)] if any(flags) else []),
        ]

    legend = (
        "variance: of one normalized group (RMS norm: its mean square), to be read against eps; outlier channel: its "
        "RMS over that of the median channel"
    )
    if any(map(_flags, layers)):
        legend += "; fp16: squares overflow half precision; 1 elem.: groups of one element, whose output is the bias"
    title = f"Normalized groups on {on}"
    yield from _table(report, layers, columns, _nearness, title, legend, detail, outlier_chart(layers))


def _static(report: Report, layers: Layers, detail: Detail) -> Iterator[Section]:
    def columns(shown: Layers) -> list[Column]:
        facts = [m.layer for m in shown]
        stated = [fact.has_statistics or fact.momentum is not None for fact in facts]
        momentum = [number(f.momentum) if s else "" for f, s in zip(facts, stated, strict=True)]
        tracked = ["" if f.num_batches_tracked is None else f"{f.num_batches_tracked:,}" for f in facts]
        optional = [
            Column("momentum", momentum, "mom.", keep=1) if any(stated) else None,
            Column("tracked", tracked, keep=0) if any(tracked) else None,
            Column("running variance", [_range(f.running_var) for f in facts], "run. variance", keep=5),
            Column("gamma", [_range(f.gamma) for f in facts], keep=4),
        ]
        eps = Column("eps", [number(fact.eps) for fact in facts], keep=3)
        return [*_identity(shown), eps, *(c for c in optional if c is not None and any(c.cells))]

    unknown = any(m.layer.eps is None for m in layers)
    legend = "as stored, smallest to largest over the channels" + ("; ?: not stated in the file" if unknown else "")
    title = "Normalization layers" if len(layers) == len(report.layers) else "Layers not measured"
    yield from _table(report, layers, columns, lambda m: None, title, legend, detail)


def _table(
    report: Report,
    layers: Layers,
    columns: Callable[[Layers], list[Column]],
    weight: Weight,
    title: str,
    legend: str,
    detail: Detail,
    chart: Chart | None = None,
) -> Iterator[Section]:
    """A section with the layers worth showing, in network order, and a line on those left out."""
    if not layers:
        return
    worst = severities(report.findings)
    choice = choose([worst.get(m.layer.name) for m in layers], [weight(m) for m in layers], detail)
    shown = [layers[index] for index in choice.shown]
    names = [short_name(m.layer.name) for m in shown]
    ranks = [worst.get(m.layer.name) for m in shown]
    table = Table(count(len(layers), "layer"), names, ranks, columns(shown))
    figures = () if chart is None or not detail.figures else (chart,)
    yield Section(title, (*figures, table, *left_out(choice, "layer")), legend)


def _identity(shown: Layers) -> list[Column]:
    words = [KIND_WORDS[m.layer.kind] for m in shown]
    channels = ["?" if m.layer.channels is None else f"{m.layer.channels}" for m in shown]
    return [
        Column("kind", [long for long, _ in words], None, [short for _, short in words], keep=7, right=False),
        Column("channels", channels, "ch.", keep=6),
    ]


def _estimate(drift: Drift | None) -> tuple[float, float] | None:
    """The layer's drift without the noise floor: what the standard error belongs to."""
    return (drift.corrected, drift.se) if drift else None


def _corrected(metrics: LayerMetrics) -> float | None:
    return metrics.drift.corrected if metrics.drift else None


def _worst(drift: Drift | None) -> str:
    return f"#{drift.max_channel} {fixed(drift.max)}" if drift else MISSING


def _flags(metrics: LayerMetrics) -> str:
    groups = metrics.groups
    flags = (("fp16", groups.half_overflow), ("1 elem.", groups.single_element)) if groups else ()
    return ", ".join(word for word, raised in flags if raised)


def _nearness(metrics: LayerMetrics) -> float | None:
    """How near to eps the smallest variance comes; without eps, how small it is."""
    groups, eps = metrics.groups, metrics.layer.eps
    return None if groups is None else (eps or 1e-12) / max(groups.variance_min, 1e-300)


def _range(values: NDArray[np.generic] | None) -> str:
    """'0.12 .. 3.4', of the finite values; nothing where there are none."""
    if values is None or values.size == 0:
        return ""
    wide = np.asarray(values, np.float64)
    finite = wide[np.isfinite(wide)]
    text = f"{number(float(finite.min()))} .. {number(float(finite.max()))}" if finite.size else "nan"
    return (
        text if finite.size == wide.size else f"{text}, {wide.size - finite.size} not finite" if finite.size else text
    )
