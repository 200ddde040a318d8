"""The fold report as one JSON document; docs/fold.schema.json checks it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from normdiag import __version__
from normdiag.records import FoldPlan, FoldReport
from normdiag.render.json import SCHEMA_VERSION, finding_dict, finite, model_dict


def fold_to_json(report: FoldReport) -> dict[str, Any]:
    """Plan, refusals, verification, ranges and findings as plain dicts, lists, strings and finite numbers.

    A number that is not finite becomes None, with an entry in `notes` that holds its path (JSON Pointer) and value.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "normdiag_version": __version__,
        "model": model_dict(report.model),
        "written": report.written,
        "plan": _plan(report.plan),
        "verification": None if report.verification is None else asdict(report.verification),
        "ranges": [asdict(each) for each in report.ranges],
        "size": {"before": report.size_before, "after": report.size_after},
        "findings": [finding_dict(finding) for finding in report.findings],
    }
    return finite(document, report.notes)


def _plan(plan: FoldPlan) -> dict[str, Any]:
    """Without the numbers of the edits, which are in the folded model."""
    return {
        "norms": plan.norms,
        "folded": sum(step.kind != "scale_shift" for step in plan.steps),
        "steps": [asdict(step) for step in plan.steps],
        "refusals": [asdict(refusal) for refusal in plan.refusals],
        "copies": [asdict(copied) for copied in plan.copies],
    }
