"""What GitHub reads: workflows, templates, dependabot; and the lower bounds that one of the jobs installs."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import pytest
import yaml

try:
    import tomllib
except ImportError:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
SCHEMAS = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read(path: Path) -> dict[str, Any]:
    document: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in document.items()}  # YAML 1.1 takes `on` for true


@pytest.mark.parametrize(
    ("path", "name"),
    [(path, "github-workflows") for path in WORKFLOWS]
    + [(GITHUB / "ISSUE_TEMPLATE" / f"{each}.yml", "github-issue-forms") for each in ("bug", "feature")]
    + [(GITHUB / "ISSUE_TEMPLATE" / "config.yml", "github-issue-config"), (GITHUB / "dependabot.yml", "dependabot")],
    ids=lambda given: getattr(given, "name", given),
)
def test_files_keep_to_their_schema(path: Path, name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(schema)(schema).validate(read(path))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_only_read_and_end_on_their_own(path: Path) -> None:
    """What a job may do beyond that it says itself; a job that hangs is stopped."""
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_scripts_of_workflows_are_shell(path: Path) -> None:
    """Nothing that others write, as the title of a pull request, is pasted into a script."""
    for job in read(path)["jobs"].values():
        for script in (step["run"] for step in job["steps"] if "run" in step):
            assert set(re.findall(r"\$\{\{ *(\w+)", script)) <= {"matrix"}
            plain = re.sub(r"\$\{\{.*?\}\}", "true", script)
            subprocess.run(["bash", "-n", "-c", plain], check=True)


def test_the_gate_is_what_runs_here() -> None:
    assert "bash .ci/run" in [step.get("run") for step in read(GITHUB / "workflows/ci.yml")["jobs"]["gate"]["steps"]]


def test_only_the_publishing_job_may_publish_and_no_token_is_stored() -> None:
    text = (GITHUB / "workflows/release.yml").read_text()
    jobs = read(GITHUB / "workflows/release.yml")["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"} and "permissions" not in jobs["build"]
    assert "secrets." not in text and "password" not in text


def test_the_lowest_versions_are_the_lower_bounds() -> None:
    lines = (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["torch"])
    wanted = dict(re.fullmatch(r"([\w-]+)>=([\d.]+).*", line).groups() for line in lines)  # type: ignore[union-attr]
    pinned = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (GITHUB / "lowest.txt").read_text(), re.M))
    jobs = read(GITHUB / "workflows/ci.yml")["jobs"]["versions"]["strategy"]["matrix"]["include"]
    lowest = [job["torch"] for job in jobs if job["name"] == "lowest dependencies"]
    assert lowest[0].startswith(f"torch=={wanted.pop('torch')}")
    del wanted["tomli"]  # for Python 3.10 alone
    assert wanted.keys() == pinned.keys()
    assert all(f"{pinned[name]}.".startswith(f"{bound}.") for name, bound in wanted.items())


def test_every_page_of_the_docs_is_on_the_site() -> None:
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    docs = ROOT / "docs"
    pages = [*docs.glob("*.md"), *docs.glob("questions/*.md")]
    pages += docs.glob("*/README.md")  # a list in a folder leads to the pages beside it
    assert listed == {page.relative_to(docs).as_posix() for page in pages}, "nav in mkdocs.yml names the pages of docs/"
