"""`normdiag rule`: the documentation of rules, and that docs/rules holds the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from normdiag.diagnosis import CAUSES
from normdiag.render import cause_pages
from normdiag.render.rule_pages import pages
from normdiag.rules import RULES
from tests.cli.conftest import Result
from tests.cli.test_app import process

Cli = Callable[..., Result]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "rules"


def test_the_list_names_every_rule(cli: Cli) -> None:
    out = cli("rule").out
    assert all(f"{rule.id} {rule.severity:7}  {rule.name}:" in out for rule in RULES)
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("name", ["ND301", "nd301", "drift"])
def test_one_rule_by_id_or_name(cli: Cli, name: str) -> None:
    result = cli("rule", name)
    assert result.code == 0 and result.out.startswith("ND301 drift  error\n") and "How to fix it:" in result.out
    assert "Needs data. Limits: drift = 0.5, alone = 0.2, times = 5" in result.out and "ND302" not in result.out


@pytest.mark.parametrize(("series", "ids"), [("ND4", ["ND401", "ND402", "ND403"]), ("nd21", ["ND210"])])
def test_a_series_is_listed_and_a_sole_rule_in_full(cli: Cli, series: str, ids: list[str]) -> None:
    out = cli("rule", series).out
    assert [rule.id for rule in RULES if f"{rule.id} " in out] == ids
    assert ("How to fix it:" in out) == (len(ids) == 1)


def test_all_rules_in_full(cli: Cli) -> None:
    out = cli("rule", "--all").out
    assert out.count("How to fix it:") == len(RULES)


def test_json(cli: Cli) -> None:
    documents = json.loads(cli("rule", "--all", "--format", "json").out)
    assert [each["id"] for each in documents] == [rule.id for rule in RULES]
    (drift,) = json.loads(cli("rule", "drift", "--format", "json").out)
    assert drift["limits"]["drift"] == 0.5 and drift["needs_data"] is True and drift["severity"] == "error"


def test_the_severity_of_never_updated_is_that_without_data(cli: Cli) -> None:
    """`check` runs without data by default, and one reset layer is a warning then."""
    assert cli("rule", "ND104").out.startswith("ND104 never-updated  warning\n")


def test_markdown(cli: Cli) -> None:
    out = cli("rule", "ND103", "--format", "markdown").out
    assert out.startswith("# ND103: variance-below-eps\n\n*warning, needs no data*\n")
    assert "**How to fix it:** prune" in out and "[tool.normdiag.rules.ND103]\ndead_ratio = 0.01" in out


def test_pages_are_written(cli: Cli, tmp_path: Path) -> None:
    assert cli("rule", "--all", "--format", "markdown", "-o", tmp_path) == Result(0, "", "")
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == dict(pages(RULES))


def test_the_documentation_is_fresh() -> None:
    """If this fails: normdiag rule --all --format markdown -o docs/rules."""
    assert {path.name: path.read_text(encoding="utf-8") for path in DOCS.iterdir()} == dict(pages(RULES))


def test_the_index_links_every_page() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert all(f"[{rule.id}]({rule.id}.md)" in index for rule in RULES)


def test_a_cause_is_explained_by_its_name(cli: Cli) -> None:
    out = cli("rule", "stale_statistics").out
    assert out.startswith("stale_statistics  remedy: recalibrate\n") and "How it is told:" in out and "ND" not in out
    assert cli("rule", "stale_statistics", "--format", "markdown").out.startswith("# stale_statistics\n")


def test_the_causes_are_listed(cli: Cli) -> None:
    out = cli("rule", "--causes").out
    assert all(f"  {cause.name} " in out for cause in CAUSES)
    documents = json.loads(cli("rule", "--causes", "--format", "json").out)
    assert [each["name"] for each in documents] == [cause.name for cause in CAUSES]


def test_the_pages_of_the_causes_are_fresh(cli: Cli, tmp_path: Path) -> None:
    """If this fails: normdiag rule --causes --all --format markdown -o docs/causes."""
    assert cli("rule", "--causes", "--all", "--format", "markdown", "-o", tmp_path) == Result(0, "", "")
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert written == dict(cause_pages.pages(CAUSES))
    assert written == {path.name: path.read_text(encoding="utf-8") for path in (DOCS.parent / "causes").iterdir()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ND301x"], "no rule is called 'ND301x' or begins with it; did you mean 'ND301'?\n"),
        (["satrated"], "did you mean 'saturated'?\n"),
        (["ND9"], "no rule is called 'ND9' or begins with it; `normdiag rule` lists them\n"),
        (["ND999"], "no rule is called 'ND999' or begins with it; `normdiag rule` lists them\n"),
        (["ND301", "--all"], "not both"),
        (["--all", "-o", "x"], "--all --format markdown"),
        (["--format", "markdown", "-o", "x"], "--all --format markdown"),
        (["--all", "--format", "markdown", "-o", "no/such"], "there is no such folder"),
    ],
)
def test_wrong_usage(cli: Cli, arguments: list[str], message: str) -> None:
    result = cli("rule", *arguments)
    assert result.code == 2 and result.out == "" and message in result.err


def test_terminals_without_unicode() -> None:
    result = process("rule", "--all", PYTHONIOENCODING="ascii")
    assert result.returncode == 0 and result.stdout.isascii()


def test_rules_are_shown_without_a_framework() -> None:
    code = (
        "import sys; from normdiag.cli.app import run; code = run(['rule', '--all']);"
        "sys.exit(code or bool({'torch', 'onnx', 'onnxruntime', 'PIL'} & set(sys.modules)))"
    )
    assert process(code=code).returncode == 0
