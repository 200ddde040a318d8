"""The project's own files agree with each other."""

from __future__ import annotations

import os
import pydoc
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import normdiag
from normdiag.rules import RULES

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = sorted((ROOT / "docs" / "questions").glob("*.md"))


def block_after(marker: str) -> str:
    """The fenced block that follows the marker in the README."""
    found = re.search(rf"^<!-- {marker} -->\n```\w*\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    assert found, f"README.md has no fenced block after <!-- {marker} -->"
    return found[1].strip()


@pytest.mark.parametrize("marker", ["inspect-command", "test-command"])
def test_readme_commands_are_one_line_that_sets_up_everything(marker: str) -> None:
    command = block_after(marker)
    assert "\n" not in command
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e ")
    subprocess.run(["bash", "-n", "-c", command], check=True)


def test_ci_runs_the_test_command_of_the_readme() -> None:
    """The lines of .ci/run that take the commands from the README, run by themselves."""
    script = (ROOT / ".ci/run").read_text()
    function = re.search(r"^block_after\(\) \{\n.*?^\}$", script, re.M | re.S)
    assert function
    for variable, marker in (("command", "test-command"), ("core", "inspect-command")):
        taking = next(line for line in script.splitlines() if line.startswith(f"{variable}="))
        lines = f'{function[0]}\n{taking}\necho "${variable}"'
        ran = subprocess.run(["bash", "-c", lines], cwd=ROOT, capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == block_after(marker)
    assert script.rstrip().endswith('eval "$tests"')


def test_the_core_is_installed_without_torch_and_for_the_tests_with_it() -> None:
    core, tests = (re.search(r"-e (\S+)", block_after(each)) for each in ("inspect-command", "test-command"))
    assert core and core[1] == "." and tests and tests[1] == "'.[dev]'"
    tomllib = pytest.importorskip("tomllib", reason="part of Python since 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not [line for line in project["dependencies"] if re.match(r"torch|onnx[-_]?ir|onnxscript|nvidia", line)]
    assert any(re.match(r"normdiag\[torch\b", line) for line in project["optional-dependencies"]["dev"])


def test_bundled_files_of_the_readme_command_exist() -> None:
    paths = re.findall(r"sample_models/[\w.]+", block_after("inspect-command"))
    assert len(paths) == 2
    assert all((ROOT / path).is_file() for path in paths)


def test_every_dependency_has_a_tested_version() -> None:
    tomllib = pytest.importorskip("tomllib", reason="part of Python since 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = (*project["dependencies"], *extras["torch"], *extras["dev"])
    wanted = {re.split(r"[<>=~\[; ]", line)[0] for line in lines if not line.startswith("normdiag[")}
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(), re.M))
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in wanted} <= pinned.keys()
    assert pinned["torch"] == "2.13.0"


def masked(text: str) -> list[str]:
    """The text without its numbers, whose last digits depend on the processor, and without layout that follows them."""
    lines = re.sub(r"[-<>]?\d[\d,]*(\.\d+)?(e-?\d+)?", "#", text).splitlines()
    return [" ".join(re.sub("─+", "─", line).split()) for line in lines]


def test_the_readme_shows_what_its_command_prints() -> None:
    arguments = block_after("inspect-command").split("normdiag ")[-1].split()
    environment = {**os.environ, "COLUMNS": "90", "NO_COLOR": "1"}
    printed = subprocess.run(
        [sys.executable, "-m", "normdiag", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert masked(printed.stdout.strip()) == masked(block_after("inspect-output"))


def test_every_rule_is_in_the_readme() -> None:
    listed = re.findall(r"^\| (ND\d+) \|", (ROOT / "README.md").read_text(), re.M)
    assert listed == [rule.id for rule in RULES]


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *QUESTIONS):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("name", ["inspect", "fold", "check", "Checking", "Config"])
def test_help_in_python_can_be_read(name: str) -> None:
    text = pydoc.plain(pydoc.render_doc(getattr(normdiag, name)))
    assert len(text) < 12_000 and max(map(len, text.splitlines())) < 1500
    assert "What it means" not in text


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md", "docs/mutation.md"])
def test_every_path_that_a_page_for_developers_names_is_there(page: str) -> None:
    """From the root, or the end of one: `observe/onnx/states.py`, `gguf_header.py`, `pytorch/checkpoint/`."""
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./-]+(?:/|\.(?:py|json|md)))`", text))
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    there = {f"/{each}" for path in kept for each in (path, *(f"{folder}/" for folder in Path(path).parents))}
    assert [name for name in sorted(named) if not any(path.endswith(f"/{name}") for path in there)] == []


def test_every_part_of_the_package_has_its_place_in_the_contract_and_on_the_page() -> None:
    tomllib = pytest.importorskip("tomllib", reason="part of Python since 3.11")
    parts = {path.name for path in (ROOT / "normdiag").iterdir() if re.fullmatch(r"[a-z]\w*(\.py)?", path.name)}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = {each.strip() for line in contracts[0]["layers"] for each in line.split("|")}
    assert layers == {f"normdiag.{name.removesuffix('.py')}" for name in parts}
    rows = "\n".join(re.findall(r"^\| (`.*?) \|", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), re.M))
    assert [name for name in parts if f"`{name}" not in rows] == []


def test_no_file_imports_itself_by_way_of_others() -> None:
    """Imports inside of functions count as well; graphlib names the circle."""
    grimp = pytest.importorskip("grimp", reason="part of import-linter")
    graph = grimp.build_graph("normdiag", exclude_type_checking_imports=True, cache_dir=None)
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert set(TopologicalSorter(imported).static_order()) == imported.keys()
