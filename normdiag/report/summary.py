"""The few things that matter, first: the findings, then one line of each kind of measurement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from normdiag.records import ActivationMetrics, Finding, Gap, LayerMetrics, OnTrainingData, Report
from normdiag.records.document import Block, FindingGroup, Section, Space, paragraph
from normdiag.records.report import Role
from normdiag.report.abridge import Detail
from normdiag.report.activations import HALF_LINEAR
from normdiag.report.diagnosis import unexplained
from normdiag.report.header import RANDOM
from normdiag.report.verdict import counted, verdict
from normdiag.report.words import (
    KIND_WORDS,
    SEVERITIES,
    count,
    fixed,
    listed,
    number,
    percent,
    short_name,
    shortened,
    with_error,
)

ROLES: dict[Role, str] = {
    "qk": "on queries or keys (QK-norm)",
    "sandwich": "on what a sub-layer puts out, with another norm before it (sandwich)",
    "output": "on what a sub-layer puts out, without one before it",
    "post": "on the sum that goes on as the residual (post-norm)",
}
# A rule that reports more layers than this is abridged.
PER_RULE = 3


def summary(report: Report, detail: Detail) -> Section:
    """The verdict, findings, severest first, and the facts in a line each."""
    title = "Summary" + (f" ({RANDOM})" if report.data and report.data.random else "")
    found = by_rule(report.findings if detail.all_layers else unexplained(report), detail)
    return Section(
        title,
        (*verdict(report, "below" if detail.figures else "--all"), *found, Space(), *map(paragraph, _facts(report))),
        opening=True,
    )


def findings(found: Sequence[Finding], detail: Detail) -> Iterator[Block]:
    """How many there are, and each rule once, with its remedy under the layers that it reports."""
    yield paragraph(counted(found))
    yield from by_rule(found, detail)


def all_findings(report: Report, detail: Detail) -> Iterator[Section]:
    """For a page, every finding where the summary leaves some out: those that a cause explains, and long lists."""
    if detail.figures and not detail.all_layers:
        first, whole = by_rule(unexplained(report), detail), by_rule(report.findings, Detail(all_layers=True))
        if tuple(first) != (blocks := tuple(whole)):
            yield Section("All findings", blocks, counted(report.findings))


def by_rule(found: Sequence[Finding], detail: Detail, *, level: int = 1) -> Iterator[Block]:
    """Each rule once with the layers that it reports, severest first; room before each."""
    ranked = sorted(found, key=lambda f: (SEVERITIES.index(f.severity), f.rule))
    for _, group in groupby(ranked, key=lambda f: (f.severity, f.rule, f.remedy)):
        yield Space()
        yield _group(list(group), detail, level)


def _group(found: Sequence[Finding], detail: Detail, level: int) -> FindingGroup:
    first, shown = found[0], found if detail.all_layers else found[:PER_RULE]
    return FindingGroup(
        first.severity,
        f"{first.rule} {shortened(first.name)}",
        tuple(shortened(each.message) + _doubt(each) for each in shown),
        len(found) - len(shown),
        shortened(first.remedy),
        level,
    )


def _doubt(finding: Finding) -> str:
    return "" if finding.confidence == "high" else f" ({finding.confidence} confidence)"


def _facts(report: Report) -> Iterator[str]:
    yield _layers(report.layers) + _roles(report)
    yield from _drift(report.layers)
    yield from _training(report.on_training_data)
    yield from _groups(report.layers)
    yield from _saturation(report.activations)
    of_samples = all(each.layer.kind != "batch_norm" for each in report.layers)
    yield from _gap(report.gap, of_samples=of_samples)


def _layers(layers: Sequence[LayerMetrics]) -> str:
    if not layers:
        return "No normalization layer was found."
    kinds = [metrics.layer.kind for metrics in layers]
    if len(set(kinds)) == 1:
        return f"{count(len(kinds), KIND_WORDS[kinds[0]][0] + ' layer')}."
    by_kind = [f"{kinds.count(kind):,} {KIND_WORDS[kind][0]}" for kind in KIND_WORDS if kind in kinds]
    return f"{count(len(kinds), 'normalization layer')}: {listed(by_kind, 6)}."


def _roles(report: Report) -> str:
    """The norms of a transformer that stand elsewhere than before a sub-layer."""
    found = [each.role for each in report.roles]
    words = [f"{found.count(role):,} {ROLES[role]}" for role in ROLES if role in found]
    return f" In the graph: {listed(words, 4)}." if words else ""


def _drift(layers: Sequence[LayerMetrics]) -> Iterator[str]:
    seen = [(metrics.layer.name, metrics.drift) for metrics in layers if metrics.drift is not None]
    known = [(name, drift) for name, drift in seen if drift.corrected == drift.corrected]
    if known:
        name, largest = max(known, key=lambda item: item[1].corrected)
        worst = with_error(largest.corrected, largest.se)
        middle = fixed(float(np.median([drift.corrected for _, drift in known])))
        yield f"Drift: median {middle}, largest {worst} at {short_name(name)}, in stored standard deviations."


def _training(seen: OnTrainingData | None) -> Iterator[str]:
    """What the drift is where none should be."""
    if seen is None:
        return
    where = f"On training data ({shortened(seen.data.source)}, {count(seen.data.samples, 'sample')})"
    for line in _drift(seen.layers):
        yield f"{where}: {line[0].lower()}{line[1:]}"


def _groups(layers: Sequence[LayerMetrics]) -> Iterator[str]:
    seen = [(metrics.layer, metrics.groups) for metrics in layers if metrics.groups is not None]
    if not seen:
        return
    small, low = min(seen, key=lambda item: item[1].variance_min)
    large, high = max(seen, key=lambda item: item[1].abs_max)
    overflow = ", whose square overflows half precision" if high.half_overflow else ""
    yield (
        f"Normalized groups: smallest variance {number(low.variance_min)} at {short_name(small.name)} "
        f"(eps {number(small.eps)}), largest |x| {number(high.abs_max)} at {short_name(large.name)}{overflow}."
    )


def _saturation(activations: Sequence[ActivationMetrics]) -> Iterator[str]:
    if not activations:
        return
    worst = max(activations, key=lambda a: a.saturated_fraction)
    dead, units = sum(a.dead_units for a in activations), sum(a.units for a in activations)
    verb = "inactive" if worst.kind in HALF_LINEAR else "saturated"
    where = f"{short_name(worst.name)} ({worst.kind})"
    yield f"Activations: {where} is {verb} most, {percent(worst.saturated_fraction)}; {dead:,} of {units:,} units dead."


def _gap(gap: Gap | None, *, of_samples: bool) -> Iterator[str]:
    if gap is None:
        return
    top1 = "" if gap.top1_disagreement is None else f", the top class of {percent(gap.top1_disagreement)} of samples"
    whose = "each sample" if of_samples else f"batches of {gap.batch_size:,}"
    yield (
        f"Gap: statistics of {whose} instead of the stored ones "
        f"change the output by {percent(gap.relative_rms)} (RMS){top1}."
    )
