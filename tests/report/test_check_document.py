"""A check as text, Markdown and JSON, and the choice between the formats."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from referencing import Registry, Resource

from normdiag.diagnosis import coverage
from normdiag.errors import UsageError
from normdiag.records import CheckedModel, CheckReport
from normdiag.render.ci.json import SCHEMA_VERSION, check_to_json, render_json
from normdiag.render.ci.markdown import escape, render_markdown
from normdiag.render.ci.render import FORMATS, render
from normdiag.render.json import to_json
from normdiag.report.check_phrases import status, unjudged_lines, verdict
from normdiag.report.words import safe
from normdiag.rules import RULES
from tests.report.checks import CHECKS, IDS, not_run, one_clean, several, unjudged
from tests.report.reports import interrupted
from tests.report.test_goldens import check as golden
from tests.report.texts import check_text

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMA = json.loads((DOCS / "check.schema.json").read_text(encoding="utf-8"))
REPORT = json.loads((DOCS / "report.schema.json").read_text(encoding="utf-8"))
REGISTRY = Registry().with_resource("report.schema.json", Resource.from_contents(REPORT))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, registry=REGISTRY)
MARKDOWN = MarkdownIt("commonmark").enable("table")


def parsed(check: CheckReport) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(render_json(check))
    VALIDATOR.validate(document)
    return document


@pytest.mark.parametrize("width", [60, 100])
def test_text(width: int) -> None:
    golden(f"check_several_{width}", check_text(several(), width=width))


@pytest.mark.parametrize("name", CHECKS)
def test_no_two_blank_lines_follow_each_other(name: str) -> None:
    assert "\n\n\n" not in check_text(CHECKS[name](), width=100)


def test_text_of_one_model_has_no_table() -> None:
    assert check_text(one_clean(), width=80).splitlines() == [
        "normdiag check",
        "    net.onnx  clean",
        "",
        "Passed: 1 model checked, no finding of severity error.",
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("name", CHECKS)
def test_text_fits_and_is_printable(name: str, width: int) -> None:
    text = check_text(CHECKS[name](), width=width)
    assert all(line.isprintable() for line in text.split("\n"))
    assert max(map(len, text.splitlines())) <= width
    assert check_text(CHECKS[name](), width=width, ascii_only=True).replace("é", "").isascii()


def test_verdicts() -> None:
    assert verdict(several()) == "Failed: 1 finding of severity error in 1 model; 1 model could not be checked."
    assert verdict(replace(several(), fail_on="warning")).startswith(
        "Failed: 8 findings of severity warning or above in 2 models"
    )
    assert verdict(replace(one_clean(), fail_on="never")) == "Passed: 1 model checked; findings never fail this gate."
    assert verdict(replace(one_clean(), baseline="b.json")).endswith("no new finding of severity error.")
    stopped = CheckReport((CheckedModel("a", interrupted(), rules=IDS),), IDS)
    assert (
        verdict(stopped) == "Failed: interrupted: 0 of 1 models checked." and status(stopped.models[0]) == "interrupted"
    )


def test_markdown() -> None:
    golden("check_several_markdown", render_markdown(several()))


@given(st.text(max_size=80))
@example("a\\.b \\| c")
@example("x | y *z* <b> [l](u) `c` ~s~ &amp;")
def test_markdown_shows_what_was_meant(text: str) -> None:
    """Rendered as a table cell, the text is the same, and nothing in it was markup."""
    shown = safe(text).strip()
    tokens = MARKDOWN.parse(f"| a |\n|---|\n| x{escape(shown)}x |\n")
    (cell,) = [token for token in tokens if token.type == "inline" and token.content != "a"]
    assert "".join(child.content for child in cell.children or ()) == f"x{shown}x"
    assert {child.type for child in cell.children or ()} <= {"text", "text_special"}


def test_json_is_what_its_schema_says() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema_version"]["const"] == SCHEMA_VERSION
    for name in CHECKS:
        document = parsed(CHECKS[name]())
        assert document.keys() == SCHEMA["properties"].keys()
        assert all(model.keys() == SCHEMA["$defs"]["model"]["properties"].keys() for model in document["models"])
    assert not VALIDATOR.is_valid(check_to_json(one_clean()) | {"models": [{"path": "x"}]})


def test_json_values() -> None:
    document = parsed(several())
    assert document["passed"] is False and document["fail_on"] == "error" and document["baseline"] == "baseline.json"
    static = document["models"][2]
    assert static["known"] == [0] and static["report"]["findings"][0]["rule"] == "ND101"
    assert document["models"][0]["report"] == json.loads(json.dumps(to_json(several().models[0].report)))
    assert document["models"][3]["report"] is None and "truncated" in document["models"][3]["error"]
    assert document["stale"][1] == {"model": "models/gone.pt", "rule": "ND302", "layer": None}


def test_every_format_is_rendered_and_no_other() -> None:
    texts = [render(several(), format_) for format_ in FORMATS]
    assert len(set(texts)) == len(FORMATS) and all(text.endswith("\n") for text in texts)
    assert "a/models/faulty.onnx" in render(several(), "sarif", prefix="a")
    with pytest.raises(UsageError, match="no format 'xml'"):
        render(several(), "xml")


@pytest.mark.parametrize("format_", FORMATS)
def test_data_that_was_not_used_is_said_in_every_format_beside_the_findings(format_: str) -> None:
    text = " ".join(render(not_run(), format_).split())
    assert "the file holds weights alone" in text and "3 of 16 values are not finite" in text
    assert format_ in ("json", "junit", "sarif") or "not checked as asked" in text


def test_data_that_was_not_used_does_not_count_as_clean() -> None:
    (model,) = not_run().models
    assert status(model) == "not checked as asked, 1 error" and not not_run().passed
    assert verdict(replace(not_run(), fail_on="never")) == "Failed: 1 model not checked as asked."


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("models", [0, 1])
def test_ctrl_c_is_said_in_every_format(format_: str, models: int) -> None:
    check = replace(one_clean(), models=one_clean().models[:models], unchecked=3)
    text = " ".join(render(check, format_).split())
    expected = '"unchecked": 3' if format_ == "json" else f"interrupted: {models} of {models + 3} models checked"
    assert expected in text


@pytest.mark.parametrize(("kind", "code"), [("batch_norm", 0), (5, 1)])
def test_the_schema_is_found_whole_by_its_path_alone(tmp_path: Path, kind: object, code: int) -> None:
    """As readers do who have both files side by side; the one of each model's report is looked into too."""
    pytest.importorskip("check_jsonschema")
    document = json.loads(render_json(one_clean()))
    document["models"][0]["report"]["layers"][0]["kind"] = kind
    (tmp_path / "o.json").write_text(json.dumps(document))
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--schemafile",
        DOCS / "check.schema.json",
        tmp_path / "o.json",
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    assert code == 0 or "layers[0].kind" in done.stdout


def test_clean_is_not_said_of_what_no_rule_on_data_saw() -> None:
    check = unjudged()
    assert [status(model) for model in check.models] == ["clean", *["clean, static rules only"] * 2]
    assert [model.verdict for model in check.models] == ["ok", "not_measured", "not_measured"]
    assert verdict(check).endswith("; static rules only for 2 models, nothing was judged on data.")
    lines = unjudged_lines(check)
    assert lines[0].startswith("models/static.pt: no data was given") and "folded 19 BatchNorm" in lines[1]


def test_data_can_be_required() -> None:
    check = replace(unjudged(), require_data=True)
    assert not check.passed and replace(unjudged(), require_data=False).passed
    assert verdict(check) == "Failed: 2 models of which nothing was judged on data (--require-data)."
    assert replace(check, models=check.models[:1]).passed


def test_reasons_without_end_are_counted() -> None:
    (first,) = unjudged().models[2:]
    reports = [replace(first.report, folded=first.report.folded[:n]) for n in range(1, 14)]
    models = [replace(first, report=replace(each, coverage=coverage(each, RULES))) for each in reports]
    lines = unjudged_lines(replace(unjudged(), models=tuple(models)))
    assert len(lines) == 11 and lines[-1].startswith("and 3 more reasons")
