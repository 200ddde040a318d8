"""A run, or the line between two checkpoints, as JSON (docs/history.schema.json checks both) and as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, astuple, fields
from typing import Any

from normdiag import __version__
from normdiag.records.history import HistoryPoint, HistoryReport
from normdiag.records.path import PathPoint, PathReport
from normdiag.render.json import SCHEMA_VERSION, finite


def history_to_json(report: HistoryReport) -> dict[str, Any]:
    """The run as plain dicts, lists, strings and finite numbers."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "normdiag_version": __version__,
        "data": {"source": report.source, "samples": report.samples},
        "steps": [asdict(each) for each in report.steps],
    }
    return finite(document, report.notes)


def path_to_json(report: PathReport) -> dict[str, Any]:
    """The line between two checkpoints in the same form: no steps, and a member `path`."""
    path = {
        "start": report.start,
        "end": report.end,
        "recalibrated_layers": report.layers,
        "barrier": report.barrier,
        "recalibrated_barrier": report.recalibrated_barrier,
        "points": [asdict(each) for each in report.points],
    }
    document = {
        "schema_version": SCHEMA_VERSION,
        "normdiag_version": __version__,
        "data": {"source": report.source, "samples": report.samples},
        "steps": [],
        "path": path,
    }
    return finite(document, report.notes)


def path_csv(report: PathReport) -> str:
    """Comma-separated values with a header, a row for each point."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([each.name for each in fields(PathPoint)])
    writer.writerows(astuple(each) for each in report.points)
    return text.getvalue()


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
