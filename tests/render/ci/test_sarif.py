"""SARIF: against the schema, within GitHub's limits, and what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.records import CheckedModel, CheckReport, Finding
from normdiag.render.ci.sarif import message, render_sarif, uri
from normdiag.rules import RULES
from tests.report.checks import CHECKS, IDS, finding, several
from tests.report.reports import healthy

SCHEMA = json.loads((Path(__file__).parent / "sarif-2.1.0-subset.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def parsed(check: CheckReport, prefix: str = "") -> dict[str, Any]:
    text = render_sarif(check, prefix=prefix)
    log: dict[str, Any] = json.loads(text)
    VALIDATOR.validate(log)
    assert json.dumps(log, ensure_ascii=False).encode("utf-8")  # no lone surrogate, which GitHub's parser would refuse
    return log["runs"][0]


def with_findings(*found: Finding, path: str = "net.onnx") -> CheckReport:
    return CheckReport((CheckedModel(path, replace(healthy(), findings=found), rules=IDS),), IDS)


def test_the_schema_is_one_and_refuses() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    log = json.loads(render_sarif(several()))
    for change in ({"version": "2.0.0"}, {"runs": [{"tool": {}}]}, {"extra": 1}):
        assert not VALIDATOR.is_valid(log | change)


@pytest.mark.parametrize("name", CHECKS)
def test_documents_satisfy_the_schema(name: str) -> None:
    parsed(CHECKS[name]())


def test_rules_are_documented_and_results_point_to_them() -> None:
    run = parsed(several())
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(IDS)
    assert all("How to fix it" in rule["help"]["text"] for rule in rules)
    assert rules[0]["shortDescription"]["text"] == RULES[0].headline
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])


def test_levels_and_order() -> None:
    levels = [result["level"] for result in parsed(several())["results"]]
    assert levels == ["error", "error", *["warning"] * 7, "note"]


def test_a_result_names_its_layer_first_and_lies_in_its_file() -> None:
    (result,) = parsed(with_findings(finding("ND101", "bn1"), path="models/a b.onnx"))["results"]
    assert result["message"]["text"] == "bn1: 3 of 16 values are not finite. Export the model again."
    (location,) = result["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "models/a%20b.onnx"
    assert location["logicalLocations"] == [{"fullyQualifiedName": "bn1", "kind": "module"}]


def test_a_layer_that_the_message_leaves_out_is_put_before_it() -> None:
    assert message(finding("ND101", "bn7", "is odd")).startswith("bn7: is odd.")
    assert message(finding("ND302", None, "output: differs")).startswith("output: differs.")


def test_braces_and_links_in_names_are_no_markup() -> None:
    text = message(finding("ND101", "x", "{0} [here](http://evil)"))
    assert "{{0}}" in text and "](" not in text


def fingerprint(check: CheckReport, prefix: str = "", index: int = 0) -> str:
    return str(parsed(check, prefix)["results"][index]["partialFingerprints"]["primaryLocationLineHash"])


def test_fingerprints_follow_rule_model_and_layer_alone() -> None:
    first = fingerprint(with_findings(finding("ND101", "bn1")))
    assert fingerprint(with_findings(finding("ND101", "bn1", "other words", "warning"))) == first
    others = [
        fingerprint(with_findings(finding("ND102", "bn1"))),
        fingerprint(with_findings(finding("ND101", "bn2"))),
        fingerprint(with_findings(finding("ND101", None, "x"))),
        fingerprint(with_findings(finding("ND101", "bn1"), path="other.onnx")),
        fingerprint(with_findings(finding("ND101", "bn1")), "models"),
        fingerprint(with_findings(finding("ND101", "bn1"), finding("ND101", "bn1")), index=1),
    ]
    assert len({first, *others}) == 7


def of_layers(*layers: str) -> CheckReport:
    return with_findings(replace(finding("ND101", None, "not finite"), layers=layers))


def test_a_result_of_several_layers_names_them_all_and_is_another_with_one_more() -> None:
    assert fingerprint(of_layers("bn1")) == fingerprint(with_findings(finding("ND101", "bn1")))
    assert fingerprint(of_layers("bn1", "bn2")) == fingerprint(of_layers("bn2", "bn1"))
    assert len({fingerprint(of_layers(*names)) for names in ("", "a", "b", "ab", "abc")}) == 5
    (result,) = parsed(of_layers("bn1", "bn2"))["results"]
    assert [each["fullyQualifiedName"] for each in result["locations"][0]["logicalLocations"]] == ["bn1", "bn2"]
    (result,) = parsed(of_layers(*map(str, range(1000))))["results"]
    assert len(result["locations"][0]["logicalLocations"]) == 100


def test_the_baseline_suppresses_known_results_and_says_so_of_all() -> None:
    states = {r["ruleId"]: (r["baselineState"], len(r["suppressions"])) for r in parsed(several())["results"]}
    assert states["ND101"] == ("unchanged", 1) and states["ND103"] == ("new", 0)
    (result,) = parsed(with_findings(finding("ND101", "bn1")))["results"]
    assert "baselineState" not in result and "suppressions" not in result


def test_models_that_could_not_be_read_are_notifications() -> None:
    (invocation,) = parsed(several())["invocations"]
    note, unjudged = invocation["toolExecutionNotifications"]
    assert unjudged["level"] == "note" and "models/static.pt: no data was given" in unjudged["message"]["text"]
    assert invocation["executionSuccessful"] is False
    assert "truncated" in note["message"]["text"] and "models/broken.pt" in note["message"]["text"]
    assert parsed(CHECKS["one_clean"]())["invocations"] == [{"executionSuccessful": True}]


def test_no_more_results_than_github_keeps_and_the_worst_first() -> None:
    many = [finding("ND103", f"bn{i}", severity="info") for i in range(5001)]
    run = json.loads(render_sarif(with_findings(*many, finding("ND101", "last"))))["runs"][0]
    assert len(run["results"]) == 5000 and run["results"][0]["ruleId"] == "ND101"
    assert "2 results are left out" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def test_evidence_that_is_no_json_number() -> None:
    odd = replace(finding("ND101", "a"), evidence={"nan": float("nan"), "inf": float("inf"), "none": None, "n": 1})
    (result,) = parsed(with_findings(odd))["results"]
    assert result["properties"]["evidence"] == {"nan": "nan", "inf": "inf", "none": None, "n": 1}


@pytest.mark.parametrize(
    ("path", "prefix", "expected"),
    [
        ("models/net.onnx", "", "models/net.onnx"),
        ("models/net.onnx", "services/vision/", "services/vision/models/net.onnx"),
        ("net.onnx", "./a", "a/net.onnx"),
        ("../net.onnx", "a/b", "a/net.onnx"),
        ("/tmp/net.onnx", "", "file:///tmp/net.onnx"),
        ("/tmp/net.onnx", "models", "models/net.onnx"),
        ("c:d,é.pt", "", "c%3Ad%2C%C3%A9.pt"),
        ("a/net.onnx", "https://x.y:8080/z", "https://x.y:8080/z/a/net.onnx"),
        ("a:b.onnx", "https://x.y/", "https://x.y/a%3Ab.onnx"),
        ("/tmp/net.onnx", "https://x.y", "https://x.y/net.onnx"),
        ("\udcff.pt", "", "%FF.pt"),
    ],
)
def test_uris(path: str, prefix: str, expected: str) -> None:
    assert uri(path, prefix) == expected


@given(st.text(st.characters(exclude_characters="/\0"), min_size=1).filter(lambda name: name not in (".", "..")))
def test_a_uri_gives_the_path_back(name: str) -> None:
    try:
        wanted = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        wanted = name.encode("utf-8", "surrogatepass")
    encoded = uri(f"models/{name}")
    assert unquote_to_bytes(encoded) == b"models/" + wanted
    assert encoded.isascii() and unquote(encoded)


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_nothing_in_a_file_breaks_the_document(layer: str, text: str, path: str) -> None:
    check = with_findings(finding("ND101", layer, f"{layer}: {text}"), path=f"m{path}".replace("\0", ""))
    (result,) = parsed(check)["results"]
    assert result["message"]["text"].isprintable()
