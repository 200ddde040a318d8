"""The checkpoints of a run as JSON (docs/history.schema.json checks it) and as CSV, a row for each layer of each."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, fields
from typing import Any

from normdiag import __version__
from normdiag.records.history import HistoryPoint, HistoryReport
from normdiag.render.json import SCHEMA_VERSION, dump, finite


def history_to_json(report: HistoryReport) -> dict[str, Any]:
    """The run as plain dicts, lists, strings and finite numbers."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "normdiag_version": __version__,
        "data": {"source": report.source, "samples": report.samples},
        "steps": [asdict(each) for each in report.steps],
    }
    return finite(document, report.notes)


def dump_history(report: HistoryReport) -> str:
    """`history_to_json` as text: valid by RFC 8259, ASCII only, ending in a newline."""
    return dump(history_to_json(report))


def history_csv(report: HistoryReport) -> str:
    """Comma-separated values with a header; empty where there is nothing."""
    text = io.StringIO()
    names = [each.name for each in fields(HistoryPoint)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "path", "gap", "gradient", *names])
    for step in report.steps:
        for point in step.points:
            writer.writerow([step.step, step.path, step.gap, step.gradient, *(getattr(point, name) for name in names)])
    return text.getvalue()
