"""The line between two checkpoints as a document."""

from __future__ import annotations

import math

from normdiag.records.document import Column, Document, Section, Table, facts, paragraph
from normdiag.records.path import PathReport
from normdiag.report.abridge import Detail
from normdiag.report.charts import path_charts
from normdiag.report.notes import bullets
from normdiag.report.words import count, fixed, number, percent, shortened

LEGEND = (
    "t: weights (1 - t) A + t B; loss: cross-entropy in nats; interpolated: running statistics taken from the line as "
    "the weights are; recalibrated: measured anew on the data for the weights of each point"
)
LEGEND_ALONE = "t: weights (1 - t) A + t B; loss: cross-entropy in nats"
LEAST = 5e-4  # what three decimals show of a loss


def path_document(report: PathReport, detail: Detail | None = None) -> Document:
    """What it comes to, then every point."""
    detail = detail or Detail()
    opening = facts(
        ("A", shortened(report.start)),
        ("B", shortened(report.end)),
        ("data", f"{shortened(report.source)}, {count(report.samples, 'sample')}"),
    )
    places = [f"{each.t:.3g}" for each in report.points]
    table = Table("t", places, [None] * len(places), _columns(report))
    figures = path_charts(report, places) if detail.figures else ()
    sections = (
        Section("", (opening,), opening=True),
        Section("Summary", (paragraph(barriers(report)),), opening=True),
        Section("From A to B", (*figures, table), LEGEND if report.layers else LEGEND_ALONE),
        *bullets("Notes", report.notes),
    )
    return Document("normdiag history --path", sections)


def barriers(report: PathReport) -> str:
    """How far the loss rises above the straight line between its ends, in a sentence."""
    told = f"On the way from A to B the loss {_rise(report.barrier)} the straight line between its ends"
    if not report.layers:
        return f"{told}."
    layers, anew = count(report.layers, "layer"), _rise(report.recalibrated_barrier)
    return f"{told}; with the statistics of {layers} recalibrated at every point it {anew} it."


def _rise(barrier: float) -> str:
    if math.isnan(barrier):
        return "is not a number everywhere, and cannot be held against"
    return f"rises up to {number(barrier)} above" if barrier >= LEAST else "stays at or below"


def _columns(report: PathReport) -> list[Column]:
    """Both ways, or the only one where there are no running statistics."""
    losses, right = [fixed(each.loss) for each in report.points], [percent(each.accuracy) for each in report.points]
    if not report.layers:
        return [Column("loss", losses), Column("accuracy", right)]
    losses_anew = [fixed(each.recalibrated_loss) for each in report.points]
    right_anew = [percent(each.recalibrated_accuracy) for each in report.points]
    return [
        Column("loss, interpolated", losses, "loss"),
        Column("loss, recalibrated", losses_anew, "loss, anew"),
        Column("accuracy, interpolated", right, "accuracy"),
        Column("accuracy, recalibrated", right_anew, "accuracy, anew"),
    ]
