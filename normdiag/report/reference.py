"""What the model shows against a reference, point by point."""

from __future__ import annotations

from collections.abc import Iterator

from normdiag.records import Point, Report
from normdiag.records.document import Block, Column, Section, Table, facts, paragraph
from normdiag.records.reference import PointDrift, ReferenceComparison
from normdiag.report.abridge import Detail, choose, left_out, severities
from normdiag.report.charts import faulty_layers, reference_chart
from normdiag.report.words import aligned_errors, count, fixed, listed, short_name, shortened

LEGEND = (
    "drift ± error: how far what is there has moved, in standard deviations of the reference, with the errors of both; "
    "mean, spread: the parts of means and of deviations in it"
)


def reference(report: Report, detail: Detail) -> Iterator[Section]:
    """Which reference it was, a row for each point, and what was not matched."""
    found = report.reference
    if found is None:
        return
    worst = severities(report.findings)
    ranks = [worst.get(each.point.name) for each in found.points]
    choice = choose(ranks, [each.drift.corrected for each in found.points], detail)
    shown = [found.points[index] for index in choice.shown]
    table = Table(
        count(len(found.points), "point"),
        [short_name(each.point.name) for each in shown],
        [ranks[index] for index in choice.shown],
        [
            Column("what", [each.point.kind or each.point.role for each in shown], keep=3, right=False),
            Column("drift", aligned_errors([(each.drift.corrected, each.drift.se) for each in shown])),
            Column("mean", [fixed(each.drift.over_z.rms) for each in shown], keep=2),
            Column("spread", [fixed(each.drift.over_r.rms) for each in shown], keep=1),
            *_renamed(shown),
        ],
    )
    figures = (reference_chart(shown, faulty_layers(report)),) if detail.figures else ()
    blocks = (_told(found), *figures, table, *left_out(choice, "point"), *_alone(found))
    yield Section("Against the reference", blocks, LEGEND)


def _told(found: ReferenceComparison) -> Block:
    of = f"of {shortened(found.model.path)}" if found.model.path else "of a module in memory"
    on = f"{listed(map(shortened, found.data.sources))}, {count(found.data.samples, 'sample')}"
    prepared = f", preprocess {shortened(found.data.preprocess)}" if found.data.preprocess else ""
    return facts(("reference", f"{shortened(found.path or 'a profile in memory')}, {of} on {on}{prepared}"))


def _renamed(shown: list[PointDrift]) -> list[Column]:
    """The names that layers have in the reference, where some have others."""
    inner = [each.point.name if each.point.role in ("norm", "activation") else each.reference.name for each in shown]
    names = [each.reference.name for each in shown]
    if inner == names:
        return []
    return [Column("in the reference", [short_name(each) for each in names], keep=0, right=False)]


def _alone(found: ReferenceComparison) -> Iterator[Block]:
    """What could not be compared."""
    for points, where in ((found.unmatched, "not in the reference"), (found.missing, "in the reference alone")):
        if points:
            yield paragraph(f"{where}: {count(len(points), 'point')} ({listed(map(_named, points), 4)})", "muted")


def _named(point: Point) -> str:
    return f"{point.kind or point.role} {short_name(point.name)}"
