"""The JSON report against its published schema."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.errors import UsageError
from normdiag.records import Finding, LayerMetrics, Report
from normdiag.render.json import SCHEMA_VERSION, dump_json, to_json
from tests.report.reports import (
    REPORTS,
    batch_norm,
    drift_of,
    faulty,
    healthy,
    hostile,
    interrupted,
    static_only,
    transformer,
)

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "report.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def parsed(report: Report, channels: str | None = None) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    document: dict[str, Any] = json.loads(dump_json(report, channels=channels), parse_constant=refuse)
    VALIDATOR.validate(document)
    return document


def undocumented(value: Any, schema: dict[str, Any], path: str = "") -> list[str]:
    """Members of a document that the schema does not describe."""
    while "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if isinstance(value, list):
        return [name for item in value for name in undocumented(item, schema["items"], f"{path}[]")]
    if not isinstance(value, dict) or "additionalProperties" in schema:
        return []
    known = schema["properties"]
    inner = [name for key in value if key in known for name in undocumented(value[key], known[key], f"{path}.{key}")]
    return [f"{path}.{key}" for key in value if key not in known] + inner


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema_version"]["const"] == SCHEMA_VERSION


@pytest.mark.parametrize("name", [*REPORTS, "hostile"])
def test_documents_satisfy_the_schema_which_describes_every_member(name: str) -> None:
    report = hostile() if name == "hostile" else REPORTS[name]()
    document = parsed(report, report.layers[0].layer.name if report.layers else None)
    assert undocumented(document, SCHEMA) == []


def test_schema_refuses_what_is_wrong() -> None:
    for change in ({"schema_version": "1.0"}, {"interrupted": None}, {"data": {}}, {"findings": [{"rule": "X"}]}):
        assert not VALIDATOR.is_valid(to_json(healthy()) | change)


def test_values() -> None:
    report = faulty()
    document, metrics = parsed(report), report.layers[7]
    layer = document["layers"][7]
    assert layer["name"] == "layer1.3.bn1" and layer["kind"] == "batch_norm" and layer["eps"] == 1e-5
    assert layer["drift"]["rms"] == metrics.drift.rms
    assert layer["drift"]["corrected_rms"] == metrics.drift.corrected
    assert layer["drift"]["lower"] == metrics.drift.lower
    assert layer["drift"]["own_rms"] == metrics.own.rms
    assert layer["drift"]["max"] == metrics.drift.max
    assert layer["drift"]["max_channel"] == int(np.argmax(metrics.drift.d))
    assert layer["running_var"]["min"] == pytest.approx(float(metrics.layer.running_var.min()))
    assert document["gap"]["explained"] == {"drift": 0.62, "noise": 0.38, "se": None}
    assert document["gap"]["attribution"][0] == {"layer": "layer1.3.bn1", "removed": pytest.approx(0.85)}
    assert document["data"]["samples"] == 1000 and document["data"]["batches"] == 16
    assert document["findings"][-1]["evidence"] == {"drift": 2.4, "lower": 2.34}
    assert document["notes"] == []


def test_nothing_measured_is_null() -> None:
    document = parsed(static_only())
    assert document["data"] is None and document["gap"] is None and document["gradient"] is None
    assert all(layer["drift"] is None and layer["eps"] is None for layer in document["layers"])
    assert document["verdict"] == "not_measured" and document["measured"] == ["parameters"]
    missing = document["not_measured"]
    assert [each["topic"] for each in missing] == ["drift", "gap", "activations"]
    assert all("no data was given" in each["why"] and "--arch" in each["why"] for each in missing)


def test_groups() -> None:
    seen = parsed(transformer())["layers"][4]["input"]
    assert seen["half_overflow"] is True and seen["abs_max"] == 913.4 and seen["single_element"] is False


def test_interrupted_and_infinite_errors() -> None:
    document = parsed(interrupted())
    assert document["interrupted"] is True
    assert document["layers"][0]["drift"]["se"] is None
    assert {"path": "/layers/0/drift/se", "message": "infinity, written as null"} in document["notes"]


def resolve(document: Any, pointer: str) -> Any:
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        document = document[int(key)] if isinstance(document, list) else document[key]
    return document


@given(st.sampled_from([float("nan"), float("inf"), float("-inf")]), st.text(min_size=1, max_size=5))
def test_every_number_that_is_not_finite_is_null_and_named(bad: float, key: str) -> None:
    finding = Finding("ND101", "x", "error", "high", (), "m", "r", MappingProxyType({key: bad, "fine": 1.5}))
    layer = replace(batch_norm("bn", 2), eps=bad, running_var=np.array([bad, 1.0], np.float32))
    report = Report(healthy().model, None, (LayerMetrics(layer, drift=drift_of(np.array([bad, 0]), np.ones(2))),))
    document = parsed(replace(report, findings=(finding,)), "bn")
    named = [note["path"] for note in document["notes"]]
    assert f"/findings/0/evidence/{key.replace('~', '~0').replace('/', '~1')}" in named
    assert {"/layers/0/eps", "/layers/0/drift/rms"} <= set(named)
    assert all(resolve(document, path) is None for path in named)
    assert document["layers"][0]["running_var"] == {"min": 1.0, "max": 1.0, "non_finite": 1}


def test_channels_are_there_only_when_asked_for() -> None:
    assert "channels_detail" not in parsed(faulty())
    detail = parsed(faulty(), "layer1.3.bn1")["channels_detail"]
    drift = faulty().layers[7].drift
    assert detail["layer"] == "layer1.3.bn1" and detail["ranked_by"] == "d" and len(detail["channels"]) == 16
    assert [row["d"] for row in detail["channels"]] == sorted(drift.d, reverse=True)
    assert detail["channels"][0]["z"] == drift.z[detail["channels"][0]["channel"]]
    with pytest.raises(UsageError, match="nearest"):
        to_json(faulty(), channels="layer1.3.bn7")


def test_channels_of_weights_and_of_nothing() -> None:
    rows = parsed(static_only(), "bn1")["channels_detail"]["channels"]
    stds = [row["stored_std"] for row in rows]
    assert stds == sorted(stds)
    bare = Report(
        healthy().model,
        None,
        (
            LayerMetrics(
                replace(batch_norm("bn", 2), **dict.fromkeys(("gamma", "beta", "running_mean", "running_var")))
            ),
        ),
    )
    assert parsed(bare, "bn")["channels_detail"] == {"layer": "bn", "ranked_by": None, "channels": []}


def test_output_is_ascii_and_keeps_names_unaltered() -> None:
    text = dump_json(hostile())
    assert text.isascii() and text.endswith("}\n")
    assert [layer["name"] for layer in json.loads(text)["layers"]] == [m.layer.name for m in hostile().layers]
