"""Ranked preparations as one JSON document; docs/preprocess.schema.json checks it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from normdiag import __version__
from normdiag.records.preparation import PreparationReport
from normdiag.render.json import SCHEMA_VERSION, finite, model_dict


def preprocess_to_json(report: PreparationReport) -> dict[str, Any]:
    """The ranking as plain dicts, lists, strings and finite numbers."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "normdiag_version": __version__,
        "model": model_dict(report.model),
        "data": {"source": report.source},
        **asdict(report.found),
    }
    return finite(document, report.notes)
