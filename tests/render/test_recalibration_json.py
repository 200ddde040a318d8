"""What machines read of a recalibration."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from normdiag.render.json import dump
from normdiag.render.recalibration_json import recalibration_to_json
from tests.report.recalibration_reports import REPORTS

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "recalibrate.schema.json").read_text())


@pytest.mark.parametrize("name", REPORTS)
def test_follows_the_published_schema(name: str) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(dump(recalibration_to_json(REPORTS[name]()))))


def test_the_schema_refuses_what_it_does_not_know() -> None:
    document = recalibration_to_json(REPORTS["repaired"]())
    for broken in ({**document, "extra": 1}, {k: v for k, v in document.items() if k != "outcome"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(SCHEMA).validate(broken)


def test_numbers_that_are_not_finite_become_null_with_a_note() -> None:
    document = recalibration_to_json(REPORTS["poisoned"]())
    assert document["layers"][0]["drift"] is None
    assert {"path": "/layers/0/drift", "message": "not a number, written as null"} in document["notes"]
