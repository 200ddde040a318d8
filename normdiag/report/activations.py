"""The activations, and how much gradient they let through along the depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from normdiag.ops import FUNCTIONS
from normdiag.records import ActivationMetrics, GradientProduct, Report
from normdiag.records.document import Block, Column, Section, Table, paragraph
from normdiag.report.abridge import Detail, choose, left_out, severities
from normdiag.report.charts import gradient_chart, saturation_chart
from normdiag.report.header import RANDOM
from normdiag.report.words import count, number, percent, short_name

# Kinds whose flat side is their normal 'off': half of the values there is healthy.
HALF_LINEAR = frozenset(kind for kind, function in FUNCTIONS.items() if function.rectifies)
LEGEND = (
    "saturated: in the flat tails of the function (ReLU and its like: inactive, of which half is normal); dead: "
    "saturated on every value seen"
)


def activations(report: Report, detail: Detail) -> Iterator[Section]:
    """The table of activations with the gradient line below; nothing where none was seen."""
    if not report.activations:
        return
    worst = severities(report.findings)
    ranks = [worst.get(a.name) for a in report.activations]
    choice = choose(ranks, [_severity(a) for a in report.activations], detail)
    shown = [report.activations[index] for index in choice.shown]
    names = [short_name(a.name) for a in shown]
    table = Table(count(len(ranks), "activation"), names, [worst.get(a.name) for a in shown], _columns(shown))
    title = "Activations" + (f" on {RANDOM}" if report.data and report.data.random else "")
    blocks: list[Block] = [*_charts(report, detail), table, *left_out(choice, "activation")]
    if any(each.sampled_share < 1.0 for each in shown):
        blocks.append(paragraph(_sampled(shown)))
    if report.gradient:
        blocks.append(paragraph(_gradient(report.gradient)))
    yield Section(title, tuple(blocks), LEGEND)


def _charts(report: Report, detail: Detail) -> Iterator[Block]:
    if detail.figures:
        yield saturation_chart(report.activations)
        gradient = None if report.gradient is None else gradient_chart(report.activations, report.gradient)
        if gradient is not None:
            yield gradient


def _columns(shown: Sequence[ActivationMetrics]) -> list[Column]:
    derivative = [_shown(number, a, a.mean_squared_derivative, a.mean_squared_derivative_se) for a in shown]
    dead = [f"{a.dead_units:,}" if a.dead_units else "0" for a in shown]
    return [
        Column("kind", [a.kind for a in shown], keep=3, right=False),
        Column("saturated", [_shown(percent, a, a.saturated_fraction, a.saturated_se) for a in shown]),
        Column("mean squared derivative", derivative, "mean f'^2", keep=2),
        Column("dead units", [f"{d} of {a.units:,}" for d, a in zip(dead, shown, strict=True)], "dead", keep=4),
    ]


def _shown(write: Callable[[float], str], seen: ActivationMetrics, value: float, error: float | None) -> str:
    """With its error where not all values were looked at; else it is so small that it would only be in the way."""
    return f"{write(value)} ± {write(error)}" if error and seen.sampled_share < 1.0 else write(value)


def _severity(activation: ActivationMetrics) -> float:
    """What makes an activation worth seeing: its saturated share, above half for the kinds where half is normal."""
    normal = 0.5 if activation.kind in HALF_LINEAR else 0.0
    dead = activation.dead_units / max(activation.units, 1)
    return math.nan if math.isnan(activation.saturated_fraction) else activation.saturated_fraction - normal + dead


def _sampled(shown: Sequence[ActivationMetrics]) -> str:
    least = min(each.sampled_share for each in shown)
    return (
        f"±: of smooth functions a share of the values is looked at ({percent(least)} or more here, drawn with a fixed "
        "seed), and what that leaves open is in this standard error. Flat pieces and dead units are counted on all."
    )


def _gradient(gradient: GradientProduct) -> str:
    return (
        f"Gradient along the depth: {count(gradient.depth, 'activation')} in a chain would pass {number(gradient.rms)} "
        f"of it (product of the mean squares {number(gradient.mean_squared)}, its root taken); as many sigmoids "
        f"{number(gradient.sigmoid_bound)} at most (0.25^{gradient.depth})."
    )
