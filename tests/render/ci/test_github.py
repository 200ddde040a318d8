"""Workflow commands as GitHub's runner would parse them, and the summary's limit."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from normdiag.records import CheckedModel, CheckReport, KnownFinding
from normdiag.render.ci.github import annotation, render_github, step_summary
from normdiag.report.words import safe
from tests.report.checks import CHECKS, IDS, finding, one_clean, several, unjudged
from tests.report.reports import healthy

COMMAND = re.compile(r"::(error|warning|notice) ([^:]*)::(.*)")


def read(line: str) -> tuple[str, dict[str, str], str]:
    """As actions/runner does: properties are split at commas, then unescaped."""
    found = COMMAND.fullmatch(line)
    assert found, line
    properties = dict(each.split("=", 1) for each in found[2].split(","))
    return found[1], {key: undo(value) for key, value in properties.items()}, undo(found[3])


def undo(text: str) -> str:
    for code, sign in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, sign)
    return text


def test_annotations() -> None:
    lines = render_github(several()).splitlines()
    level, properties, text = read(lines[1])
    assert level == "error"
    assert properties == {"file": "models/faulty.onnx", "line": "1", "title": "ND301 drift"}
    assert text.startswith("layer1.3.bn1: its stored") and text.splitlines()[1].startswith("Recalibrate")
    assert [read(line)[0] for line in lines[:-3]] == ["error", "error", *["warning"] * 7, "notice"]


def test_known_findings_are_not_annotated_and_stale_ones_are_told() -> None:
    text = render_github(several())
    assert "ND101" not in text
    assert "no longer found: models/static.pt: ND104 at bn1, models/gone.pt: ND302" in text


def test_ten_of_a_level_and_the_rest_is_counted() -> None:
    found = [finding("ND101", f"bn{i}") for i in range(13)] + [finding("ND103", f"x{i}", "", "info") for i in range(11)]
    check = CheckReport((CheckedModel("net.onnx", replace(healthy(), findings=tuple(found)), rules=IDS),), IDS)
    lines = render_github(check).splitlines()
    levels = [read(line)[0] for line in lines[:-1]]
    assert (levels.count("error"), levels.count("notice")) == (10, 10)
    assert lines[-1] == "normdiag: Failed: 13 findings of severity error in 1 model. 4 more not shown as annotations."


def test_prefix() -> None:
    assert "file=a/models/faulty.onnx," in render_github(several(), prefix="a")


@pytest.mark.parametrize("name", CHECKS)
def test_every_line_is_a_command_or_ours(name: str) -> None:
    for line in render_github(CHECKS[name]()).splitlines():
        assert line.startswith("normdiag: ") or read(line)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
@example("100%2C.onnx", "50%3A", "100%0A::error::forged")
def test_commands_carry_what_was_meant(path: str, title: str, message: str) -> None:
    line = annotation("error", path, title, message)
    assert line.splitlines() == [line]
    assert read(line) == ("error", {"file": safe(path), "line": "1", "title": safe(title)}, safe(message))


def test_the_summary_keeps_its_limit() -> None:
    text = "é" * 30 + "\n" + "x" * 100 + "\n"
    assert step_summary(text) == text
    assert step_summary("a\n" * 700_000).endswith("1 MiB.*\n")
    assert len(step_summary("é\n" * 700_000).encode()) <= 1 << 20
    assert step_summary(text, 150).startswith("é" * 30 + "\n\n*The rest")
    assert step_summary(text, 20) == "" and step_summary(text, -5) == ""


def test_a_stale_line_is_no_command_to_the_runner() -> None:
    text = render_github(replace(one_clean(), stale=(KnownFinding("##[error]x.onnx", "ND101", None, "error"),)))
    assert "## [error]x.onnx: ND101" in text and "##[" not in text


def test_what_was_not_judged_on_data_is_said_and_annotated_where_data_is_required() -> None:
    lines = render_github(unjudged()).splitlines()
    assert lines[0].endswith("; static rules only for 2 models, nothing was judged on data.")
    assert lines[1].startswith("normdiag: not judged on data: models/static.pt: no data was given")
    first, second, *_ = render_github(replace(unjudged(), require_data=True)).splitlines()
    assert read(first)[:2] == (
        "error",
        {"file": "models/static.pt", "line": "1", "title": "normdiag: static rules only"},
    )
    assert "folded" in read(second)[2]
