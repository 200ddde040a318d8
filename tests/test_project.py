"""The project's own files agree with each other."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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
    """The lines of .ci/run that take the command from the README, run by themselves."""
    script = (ROOT / ".ci/run").read_text()
    taking = next(line for line in script.splitlines() if line.startswith("command="))
    ran = subprocess.run(
        ["bash", "-c", f'{taking}; echo "$command"'], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == block_after("test-command")
    assert script.rstrip().endswith('eval "$tests"')


def test_bundled_files_of_the_readme_command_exist() -> None:
    paths = re.findall(r"sample_models/[\w.]+", block_after("inspect-command"))
    assert len(paths) == 2
    assert all((ROOT / path).is_file() for path in paths)


def test_every_dependency_has_a_tested_version() -> None:
    tomllib = pytest.importorskip("tomllib", reason="part of Python since 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {
        re.split(r"[<>=~\[; ]", line)[0] for line in project["dependencies"] + project["optional-dependencies"]["dev"]
    }
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(), re.M))
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in wanted} <= pinned.keys()
    assert pinned["torch"] == "2.13.0"
