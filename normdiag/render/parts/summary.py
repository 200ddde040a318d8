"""The few things that matter, first: the findings, then one line of each kind of measurement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from normdiag.records import ActivationMetrics, Finding, Gap, LayerMetrics, Report
from normdiag.render.layout import BLANK, Line, Span
from normdiag.render.parts.activations import HALF_LINEAR
from normdiag.render.parts.header import RANDOM
from normdiag.render.parts.prose import heading, prose
from normdiag.render.view import KIND_WORDS, MARGIN, SEVERITIES, STYLES, View
from normdiag.render.words import count, fixed, listed, number, percent, with_error

# A rule that speaks of more layers than this is abridged.
PER_RULE = 3


def summary(report: Report, view: View) -> Iterator[Line]:
    """Findings, severest first, and the facts in a line each."""
    yield from heading("Summary" + (f" ({RANDOM})" if report.data and report.data.random else ""), view)
    if report.findings:
        yield from findings(report.findings, view)
    else:
        yield from prose("No findings.", view, style="green")
    yield BLANK
    for fact in _facts(report, view):
        yield from prose(fact, view)


def findings(found: Sequence[Finding], view: View) -> Iterator[Line]:
    """Each rule once, with its remedy under the layers that it speaks of."""
    numbers = {severity: sum(f.severity == severity for f in found) for severity in SEVERITIES}
    counts = [count(n, severity) for severity, n in numbers.items() if n and severity != "info"]
    counts += [f"{numbers['info']:,} for information"] if numbers["info"] else []
    yield from prose(", ".join(counts), view)
    yield from by_rule(found, view)


def by_rule(found: Sequence[Finding], view: View, *, indent: int = MARGIN) -> Iterator[Line]:
    """Each rule once with the layers that it speaks of, severest first; a blank line before each."""
    ranked = sorted(found, key=lambda f: (SEVERITIES.index(f.severity), f.rule))
    for _, group in groupby(ranked, key=lambda f: (f.severity, f.rule, f.remedy)):
        yield from _rule(list(group), view, indent)


def _rule(findings: Sequence[Finding], view: View, indent: int) -> Iterator[Line]:
    first, shown = findings[0], findings if view.all_layers else findings[:PER_RULE]
    style = STYLES[first.severity]
    title = Span(f"{view.mark(first.severity)} {first.severity}", style)
    inner = indent + 2
    yield BLANK
    yield from prose([title, Span(view.safe(f"  {first.rule} {first.name}"))], view, indent=indent)
    for finding in shown:
        doubt = "" if finding.confidence == "high" else f" ({finding.confidence} confidence)"
        yield from prose(view.safe(finding.message) + doubt, view, indent=inner)
    if len(findings) > len(shown):
        more = f"{view.glyphs.ellipsis} and {len(findings) - len(shown):,} more, --all shows them"
        yield from prose(more, view, indent=inner, style="dim")
    if first.remedy:
        arrow = Span(f"{view.glyphs.arrow} ", style)
        yield from prose([arrow, Span(view.safe(first.remedy))], view, indent=inner)


def _facts(report: Report, view: View) -> Iterator[str]:
    yield _layers(report.layers)
    if report.data is None:
        yield f"Nothing was run{' (the notes say why)' if report.notes else ''}: this is what the file alone says."
        return
    yield from _drift(report.layers, view)
    yield from _groups(report.layers, view)
    yield from _saturation(report.activations, view)
    yield from _gap(report.gap)


def _layers(layers: Sequence[LayerMetrics]) -> str:
    if not layers:
        return "No normalization layer was found."
    kinds = [metrics.layer.kind for metrics in layers]
    if len(set(kinds)) == 1:
        return f"{count(len(kinds), KIND_WORDS[kinds[0]][0] + ' layer')}."
    by_kind = [f"{kinds.count(kind):,} {KIND_WORDS[kind][0]}" for kind in KIND_WORDS if kind in kinds]
    return f"{count(len(kinds), 'normalization layer')}: {listed(by_kind, 6)}."


def _drift(layers: Sequence[LayerMetrics], view: View) -> Iterator[str]:
    seen = [(metrics.layer.name, metrics.drift) for metrics in layers if metrics.drift is not None]
    known = [(name, drift) for name, drift in seen if drift.corrected == drift.corrected]
    if known:
        name, largest = max(known, key=lambda item: item[1].corrected)
        worst = with_error(largest.corrected, largest.se, view.glyphs.plus_minus)
        middle = fixed(float(np.median([drift.corrected for _, drift in known])))
        yield f"Drift: median {middle}, largest {worst} at {view.name(name)}, in stored standard deviations."


def _groups(layers: Sequence[LayerMetrics], view: View) -> Iterator[str]:
    seen = [(metrics.layer, metrics.groups) for metrics in layers if metrics.groups is not None]
    if not seen:
        return
    small, low = min(seen, key=lambda item: item[1].variance_min)
    large, high = max(seen, key=lambda item: item[1].abs_max)
    overflow = ", whose square overflows half precision" if high.half_overflow else ""
    yield (
        f"Normalized groups: smallest variance {number(low.variance_min)} at {view.name(small.name)} "
        f"(eps {number(small.eps)}), largest |x| {number(high.abs_max)} at {view.name(large.name)}{overflow}."
    )


def _saturation(activations: Sequence[ActivationMetrics], view: View) -> Iterator[str]:
    if not activations:
        return
    worst = max(activations, key=lambda a: a.saturated_fraction)
    dead, units = sum(a.dead_units for a in activations), sum(a.units for a in activations)
    verb = "inactive" if worst.kind in HALF_LINEAR else "saturated"
    where = f"{view.name(worst.name)} ({worst.kind})"
    yield f"Activations: {where} is {verb} most, {percent(worst.saturated_fraction)}; {dead:,} of {units:,} units dead."


def _gap(gap: Gap | None) -> Iterator[str]:
    if gap is None:
        return
    top1 = "" if gap.top1_disagreement is None else f", the top class of {percent(gap.top1_disagreement)} of samples"
    yield (
        f"Gap: statistics of batches of {gap.batch_size:,} instead of the stored ones "
        f"change the output by {percent(gap.relative_rms)} (RMS){top1}."
    )
