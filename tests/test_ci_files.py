"""The files that other systems read, by published schemas: action.yml, the pre-commit hook, the jobs of docs/ci.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from normdiag.config import Config, merge, parse

ROOT = Path(__file__).resolve().parents[1]
CI = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")


def block(marker: str) -> str:
    found = re.search(rf"^<!-- {marker} -->\n```\w+\n(.*?)^```$", CI, re.M | re.S)
    assert found, marker
    return found[1]


def validate(document: Any, name: str) -> None:
    """By a schema of schemastore.org that check-jsonschema brings along."""
    builtin = pytest.importorskip("check_jsonschema").__path__[0]
    schema = json.loads((Path(builtin) / "builtin_schemas" / "vendor" / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(schema)(schema).validate(document)


def action() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    return document


def test_the_action_is_one() -> None:
    validate(action(), "github-actions")
    used = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text(encoding="utf-8")))
    assert used == set(action()["inputs"])


def test_inputs_never_stand_in_a_script() -> None:
    """What stands in `run:` as an expression is pasted into the script before the shell sees it."""
    assert all("${{" not in step["run"] for step in action()["runs"]["steps"])


ENVIRONMENT = dict.fromkeys(re.findall(r"^        ([A-Z_]+): ", (ROOT / "action.yml").read_text(), re.M), "")


def ran(tmp_path: Path, code: int = 0, **given: str) -> tuple[list[str], int, str]:
    """The arguments that the action's script calls normdiag with, its exit code, and its output."""
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "normdiag"
    writes = f'printf "%s\\n" "$@" > "{tmp_path}/arguments"\n[[ {code} = 2 || -z $SARIF_FILE ]] || touch "$SARIF_FILE"'
    fake.write_text(f"#!/usr/bin/env bash\n{writes}\nexit {code}\n")
    fake.chmod(0o755)
    environment = {**os.environ, **ENVIRONMENT, "VENV": str(tmp_path), "JOBS": "1", "FOLDER": ".", **given}
    environment["GITHUB_OUTPUT"] = str(tmp_path / "output")
    script = action()["runs"]["steps"][1]["run"]
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", script], env=environment, check=False, cwd=tmp_path)
    return (tmp_path / "arguments").read_text().splitlines(), done.returncode, (tmp_path / "output").read_text()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["src"]),
        ({"TORCH": "true"}, ["src[torch]", "--extra-index-url", "https://cpu"]),
        ({"ARCH": "net.py:Net", "EXTRA_INDEX_URL": ""}, ["src[torch]"]),
    ],
)
def test_the_action_installs_torch_only_when_asked(tmp_path: Path, given: dict[str, str], expected: list[str]) -> None:
    """The script itself, with a Python that notes down how pip was called."""
    noting = f'#!/usr/bin/env bash\nprintf "%s\\n" "$@" > "{tmp_path}/arguments"\n'
    for name in ("python3", "bin/python"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(noting)
        (tmp_path / name).chmod(0o755)
    defaults = {"TORCH": "false", "ARCH": "", "EXTRA_INDEX_URL": "https://cpu"}
    places = {"PYTHON": str(tmp_path / "python3"), "SOURCE": "src", "VENV": str(tmp_path)}
    script = action()["runs"]["steps"][0]["run"]
    environment = {**os.environ, **defaults, **places, **given}
    subprocess.run(["bash", "-eo", "pipefail", "-c", script], env=environment, check=True)
    assert (tmp_path / "arguments").read_text().splitlines() == ["-m", "pip", "install", "--quiet", *expected]


def test_the_action_calls_check(tmp_path: Path) -> None:
    arguments, code, output = ran(tmp_path, PATHS="models/\na b.onnx\n")
    assert arguments == ["check", "--format", "github", "--jobs", "1", "--", "models/", "a b.onnx"]
    assert (code, output) == (0, "exit-code=0\n")


def test_every_input_of_the_action_has_its_effect(tmp_path: Path) -> None:
    arguments, code, output = ran(
        tmp_path,
        code=1,
        PATHS="$(touch pwned)",
        DATA="a=x.npy\nb=y.npy",
        PREPROCESS="imagenet",
        FAIL_ON="warning",
        SELECT="ND1",
        IGNORE="ND104",
        TARGET="fp16",
        ARCH="net.py:Net",
        ARCH_ARGS="width=2\ndepth=3",
        BASELINE="b.json",
        JOBS="3",
        ALLOW_CONFIG_CODE="true",
        SARIF_FILE="o.sarif",
        JUNIT_FILE="o.xml",
        FOLDER="sub",
    )
    expected = (
        "check --format github --jobs 3 --preprocess imagenet --fail-on warning --select ND1 --ignore ND104"
        " --target fp16 --arch net.py:Net --baseline b.json --report sarif=o.sarif --report junit=o.xml --sarif-uri sub"
        " --allow-config-code --data a=x.npy --data b=y.npy --arch-arg width=2 --arch-arg depth=3 --"
    )
    assert arguments == [*expected.split(), "$(touch pwned)"]
    assert (code, output) == (1, "exit-code=1\nsarif-file=sub/o.sarif\n")


def test_empty_inputs_of_the_action_are_left_out_and_lines_are_trimmed(tmp_path: Path) -> None:
    arguments, _, output = ran(tmp_path, PATHS="  models/\n\ta b.onnx  \n\n", DATA="  x.npy\n", JOBS="")
    assert arguments == ["check", "--format", "github", "--data", "x.npy", "--", "models/", "a b.onnx"]
    assert output == "exit-code=0\n"


@pytest.mark.parametrize(
    ("file", "folder", "code", "expected"),
    [("o.sarif", ".", 0, "o.sarif"), ("o.sarif", "a/b", 1, "a/b/o.sarif"), ("o.sarif", "a", 2, None)],
)
def test_the_action_says_where_its_sarif_file_is(
    tmp_path: Path, file: str, folder: str, code: int, expected: str | None
) -> None:
    """From the workspace, where the step that uploads it runs; nothing where there is none."""
    _, _, output = ran(tmp_path, code, PATHS="m", SARIF_FILE=file, FOLDER=folder)
    assert output == f"exit-code={code}\n" + (f"sarif-file={expected}\n" if expected else "")


def test_the_hook() -> None:
    clientlib = pytest.importorskip("pre_commit.clientlib")
    (hook,) = clientlib.load_manifest(ROOT / ".pre-commit-hooks.yaml")
    assert hook["entry"] == "normdiag check" and hook["require_serial"] is True
    wanted = ["net.onnx", "a/net.pt", "net.pth", "net.pt2", "net.ckpt", "net.safetensors"]
    assert all(re.search(hook["files"], name) for name in wanted)
    assert not any(re.search(hook["files"], name) for name in ("net.py", "onnx", "net.onnx.data", "model.ptx"))


def test_the_workflow_of_the_docs() -> None:
    workflow = yaml.safe_load(block("github-workflow"))
    validate({"on" if key is True else key: value for key, value in workflow.items()}, "github-workflows")
    steps = workflow["jobs"]["normdiag"]["steps"]
    (ours,) = [step for step in steps if step["uses"].startswith("OWNER/")]
    assert set(ours["with"]) <= set(action()["inputs"])
    named = re.findall(r"steps\.([\w-]+)\.outputs\.([\w-]+)", f"{steps[-1]['if']} {steps[-1]['with']['sarif_file']}")
    assert named == [(ours["id"], "sarif-file")] * 2 and "sarif-file" in ours["with"]
    assert "sarif-file" in action()["outputs"]


def test_the_gitlab_job_of_the_docs() -> None:
    validate(yaml.safe_load(block("gitlab-ci")), "gitlab-ci")


def test_the_hook_of_the_docs() -> None:
    (repository,) = yaml.safe_load(block("pre-commit-config"))["repos"]
    known = {hook["id"] for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    assert {hook["id"] for hook in repository["hooks"]} == known
    assert all(hook["args"][-1] == "--" for hook in repository["hooks"])


def test_the_local_hook_of_the_docs_is_ours() -> None:
    (repository,) = yaml.safe_load(block("pre-commit-local"))["repos"]
    (hook,), (ours,) = repository["hooks"], yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    same = ("id", "entry", "args", "files", "require_serial")
    assert [hook[each] for each in same] == [ours[each] for each in same] and hook["language"] == "system"


def commands() -> Iterator[str]:
    for line in CI.splitlines():
        found = re.search(r"normdiag check [^'`\n]+", line)
        if found and "MODEL" not in line and "prints what" not in line:
            yield found[0]


@pytest.mark.parametrize("command", [*dict.fromkeys(commands())])
def test_commands_of_the_docs_are_understood(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from normdiag.cli.app import run
    from normdiag.commands import check as checking
    from tests.report.checks import one_clean

    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "net.onnx").touch()
    monkeypatch.setattr(checking, "check", lambda *given, **others: one_clean())
    assert run(command.split()[1:]) == 0


def test_the_configuration_of_the_docs_is_understood() -> None:
    tomllib = pytest.importorskip("tomllib", reason="part of Python since 3.11")
    text = re.search(r"```toml\n(.*?)```", CI, re.S)
    assert text
    settings = parse(tomllib.loads(text[1])["tool"]["normdiag"], Path())
    assert settings.fail_on == "warning" and "ND104" not in [rule.id for rule in merge(Config(), settings).rules()]


def test_the_configuration_of_the_docs_lets_no_training_mode_export_pass(
    tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from normdiag.cli.app import run

    monkeypatch.chdir(tmp_path)
    example = re.search(r"^```toml\n(.*?)^```$", CI, re.M | re.S)
    assert example
    (tmp_path / "pyproject.toml").write_text(example[1].replace("require-data = true", "require-data = false"))
    assert run(["check", str(samples / "digits_cnn_training.onnx"), "-q"]) == 1
    (tmp_path / "pyproject.toml").write_text('[tool.normdiag]\nselect = ["ND1", "ND3"]\n')
    assert run(["check", str(samples / "digits_cnn_training.onnx"), "-q"]) == 0, "the warning of the docs holds"
