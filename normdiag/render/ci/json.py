"""A check as one JSON document; docs/check.schema.json describes it."""

from __future__ import annotations

from typing import Any

from normdiag import __version__
from normdiag.records import CheckedModel, CheckReport
from normdiag.render.json import dump, to_json

SCHEMA_VERSION = "1.1"


def check_to_json(check: CheckReport) -> dict[str, Any]:
    """The check as plain dicts, lists, strings and finite numbers; each report as `reporters.json.to_json` gives it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "normdiag_version": __version__,
        "passed": check.passed,
        "fail_on": check.fail_on,
        "require_data": check.require_data,
        "interrupted": check.interrupted,
        "unchecked": check.unchecked,
        "rules": list(check.rules),
        "skipped": dict(check.skipped),
        "baseline": check.baseline,
        "models": [_model(model) for model in check.models],
        "stale": [{"model": each.model, "rule": each.rule, "layer": each.layer} for each in check.stale],
    }


def render_json(check: CheckReport) -> str:
    """The document as text: ASCII, ending in a newline."""
    return dump(check_to_json(check))


def _model(model: CheckedModel) -> dict[str, Any]:
    known = [index for index, finding in enumerate(model.findings) if model.is_known(finding)]
    return {
        "path": model.path,
        "error": model.error,
        "verdict": model.verdict,
        "seconds": round(model.seconds, 6),
        "rules": list(model.rules),
        "known": known,
        "report": None if model.report is None else to_json(model.report),
    }
