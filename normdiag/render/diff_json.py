"""The comparison of two models as one JSON document; docs/diff.schema.json checks it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from normdiag import __version__
from normdiag.records.diff import ComparedOnData, DiffReport, LayerDifference
from normdiag.render.json import SCHEMA_VERSION, finite, model_dict


def diff_to_json(report: DiffReport) -> dict[str, Any]:
    """The comparison as plain dicts, lists, strings and finite numbers."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "normdiag_version": __version__,
        "a": model_dict(report.a),
        "b": model_dict(report.b),
        "equal": report.equal,
        "tolerance": report.tolerance,
        "layers": [_layer(each, report.tolerance or 0.0) for each in report.layers],
        "only_a": [asdict(each) for each in report.only_a],
        "only_b": [asdict(each) for each in report.only_b],
        "on_data": None if report.on_data is None else _on_data(report.on_data),
    }
    return finite(document, report.notes)


def _layer(each: LayerDifference, tolerance: float) -> dict[str, Any]:
    return {**asdict(each), "differs": each.differs(tolerance)}


def _on_data(data: ComparedOnData) -> dict[str, Any]:
    places, outputs = ([{**asdict(each), "departs": each.departs} for each in of] for of in (data.places, data.outputs))
    return {**asdict(data), "places": places, "outputs": outputs, "agree": data.agree}
