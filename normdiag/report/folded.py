"""The layers that are no longer in the file, each with the layer that absorbed it."""

from __future__ import annotations

from collections.abc import Iterator

from normdiag.records import Report
from normdiag.records.document import Column, Section, Table
from normdiag.report.abridge import Detail, choose, left_out
from normdiag.report.words import MISSING, count, short_name

LEGEND = "folded before the file was written: their statistics are not in it, so nothing says if they fit the data"


def folded(report: Report, detail: Detail) -> Iterator[Section]:
    """A row for each layer that was folded, and by what this is told."""
    if not report.folded:
        return
    choice = choose([None] * len(report.folded), [None] * len(report.folded), detail)
    shown = [report.folded[index] for index in choice.shown]
    columns = [
        Column("norm", [short_name(each.name or MISSING) for each in shown], right=False, keep=2),
        Column("told by", ["metadata" if each.certain else "names of weights" for each in shown], right=False, keep=1),
        Column("as of", [each.tool for each in shown], right=False, keep=0),
    ]
    names = [short_name(each.layer) for each in shown]
    table = Table(f"into {count(len(report.folded), 'layer')}", names, [None] * len(shown), columns)
    yield Section("BatchNorm folded away", (table, *left_out(choice, "layer")), LEGEND)
