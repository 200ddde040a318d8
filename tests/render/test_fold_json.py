"""What machines read of a fold."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from normdiag.render.fold_json import fold_to_json
from normdiag.render.json import dump
from tests.report.fold_reports import REPORTS, clean, mixed, proven

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "fold.schema.json").read_text())


@pytest.mark.parametrize("name", REPORTS)
def test_follows_the_published_schema(name: str) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(dump(fold_to_json(REPORTS[name]()))))


def test_the_schema_refuses_what_it_does_not_know() -> None:
    document = fold_to_json(clean())
    for broken in ({**document, "extra": 1}, {k: v for k, v in document.items() if k != "plan"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(SCHEMA).validate(broken)


def test_counts_norms_and_not_plain_scales() -> None:
    plan: dict[str, Any] = fold_to_json(mixed())["plan"]
    assert (plan["norms"], plan["folded"], len(plan["steps"]), len(plan["refusals"])) == (7, 5, 6, 2)
    assert plan["copies"][0]["bytes"] == 2_400_000


def test_numbers_that_are_not_finite_become_null_with_a_note() -> None:
    report = replace(clean(), verification=proven(error=math.inf, passed=False))
    document = fold_to_json(report)
    assert document["verification"]["error"] is None
    assert document["notes"] == [{"path": "/verification/error", "message": "infinity, written as null"}]
