"""The recalibration report as one JSON document; docs/recalibrate.schema.json checks it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from normdiag import __version__
from normdiag.records.recalibration import RecalibrationReport
from normdiag.render.json import SCHEMA_VERSION, finite, model_dict


def recalibration_to_json(report: RecalibrationReport) -> dict[str, Any]:
    """Outcome, layers and effect as plain dicts, lists, strings and finite numbers.

    A number that is not finite becomes None, with an entry in `notes` that holds its path (JSON Pointer) and value.
    """
    plain = asdict(report)
    for name in ("model", "notes"):
        plain.pop(name)
    document = {
        "schema_version": SCHEMA_VERSION,
        "normdiag_version": __version__,
        "model": model_dict(report.model),
        **plain,
        "layers": [asdict(each) for each in report.layers],
        "effect": None if report.effect is None else asdict(report.effect),
    }
    return finite(document, report.notes)
