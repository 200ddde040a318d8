"""`normdiag check`: options and configuration to the engine, reports to the right places, exit codes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from normdiag.cli.check_options import CheckFormat, Number, Severity
from normdiag.commands import check as checking
from normdiag.commands.check import Checking
from normdiag.config import DataSettings
from normdiag.models import LoadOptions
from normdiag.records import CheckedModel, CheckReport
from normdiag.render.ci.render import render
from tests.cli.conftest import Result
from tests.cli.test_app import HEAVY, process
from tests.report.checks import IDS, UNREADABLE, finding, one_clean, several, unjudged
from tests.report.reports import healthy, interrupted

Cli = Callable[..., Result]


class Call(NamedTuple):
    models: list[str]
    checking: Checking
    options: dict[str, Any]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with no configuration above it but what a test writes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    return tmp_path


@pytest.fixture
def found() -> list[CheckReport]:
    """What the engine returns: the last one in the list."""
    return [one_clean()]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, found: list[CheckReport]) -> list[Call]:
    """Every call of the engine by the command line."""
    seen: list[Call] = []

    def fake(models: list[str], options: Checking, **others: Any) -> CheckReport:
        seen.append(Call(models, options, others))
        return found[-1]

    monkeypatch.setattr(checking, "check", fake)
    return seen


def failed() -> CheckReport:
    report = replace(healthy(), findings=(finding("ND101", "bn1"),))
    return CheckReport((CheckedModel("net.onnx", report, rules=IDS),), IDS)


def test_defaults(cli: Cli, calls: list[Call]) -> None:
    assert cli("check", "a.onnx", "models") == Result(0, render(one_clean(), "text", width=80), "")
    (call,) = calls
    assert call.models == ["a.onnx", "models"]
    config = call.checking.config
    assert (config.select, config.ignore, config.fail_on, config.target) == (("ND",), (), "error", None)
    assert config.data == DataSettings() and config.source is None
    assert call.checking == Checking(config, LoadOptions(), "cpu")
    assert call.options == {"jobs": 1, "known": None, "progress": None, "isolated": True}


def test_every_option_reaches_the_engine(cli: Cli, calls: list[Call]) -> None:
    given = (
        "check m.pt --data a=x.npy --data b=y.npy --preprocess imagenet --batch-size 16 --max-samples 100 --seed 3"
        " --resize 256 --crop 224x192 --rgb --input-shape a=3,8,8 --serve-batch 4 --arch net.py:Net --arch-arg n=1"
        " --key ema --device cuda --saturation-threshold 0.1 --fail-on warning --select ND1,ND3 --select ND401 --ignore"
        " ND104 --extend-select ND402 --target fp16 --baseline b.json --jobs 4 --quiet"
    )
    assert cli(*given.split()).code == 0
    (call,) = calls
    config = call.checking.config
    assert config.select == ("ND1", "ND3", "ND401", "ND402") and config.ignore == ("ND104",)
    assert (config.fail_on, config.target) == ("warning", "fp16")
    assert config.data == DataSettings(
        ("a=x.npy", "b=y.npy"), "imagenet", 16, 100, 3, 256, (224, 192), False, ("a=3,8,8",), 4
    )
    assert call.checking.load_options == LoadOptions(key="ema", arch="net.py:Net", arch_args=("n=1",))
    assert (call.checking.device, call.checking.threshold) == ("cuda", 0.1)
    assert call.options == {"jobs": 4, "known": Path("b.json"), "progress": None, "isolated": True}


def test_a_configuration_file_lies_between_defaults_and_flags(cli: Cli, calls: list[Call], elsewhere: Path) -> None:
    (elsewhere / "pyproject.toml").write_text('[tool.normdiag]\nfail-on = "info"\ntarget = "fp16"\nselect = ["ND1"]\n')
    cli("check", "a.onnx", "--fail-on", "never", "--trust", "--require-data")
    (call,) = calls
    config = call.checking.config
    assert config.require_data
    assert (config.fail_on, config.target, config.select) == ("never", "fp16", ("ND1",))
    assert config.source == "pyproject.toml" and call.checking.load_options.trust is True


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (one_clean(), 0),
        (failed(), 1),
        (replace(failed(), fail_on="never"), 0),
        (unjudged(), 0),
        (replace(unjudged(), require_data=True), 1),
        (several(), 2),
        (CheckReport((CheckedModel("a", error=UNREADABLE),), IDS, "never"), 2),
        (CheckReport((CheckedModel("a", interrupted(), rules=IDS),), IDS), 130),
    ],
)
def test_exit_codes(cli: Cli, calls: list[Call], found: list[CheckReport], report: CheckReport, code: int) -> None:
    found.append(report)
    result = cli("check", "a.onnx")
    assert result.code == code and result.err == "" and result.out == render(report, "text", width=80)


@pytest.mark.parametrize("format_", ["json", "sarif", "junit", "github", "markdown", "html"])
def test_formats(cli: Cli, calls: list[Call], found: list[CheckReport], format_: str) -> None:
    found.append(several())
    assert cli("check", "a", "--format", format_, "--sarif-uri", "sub").out == render(several(), format_, prefix="sub")


def test_reports_go_to_files_and_stdout_stays_as_it_is(
    cli: Cli, calls: list[Call], found: list[CheckReport], elsewhere: Path
) -> None:
    found.append(several())
    result = cli("check", "a", "--report", "sarif=out.sarif", "--report", "junit=out.xml", "--report", "text=out.txt")
    assert result.out == render(several(), "text", width=80)
    assert result.err.splitlines() == [f"normdiag: wrote out.{end}" for end in ("sarif", "xml", "txt")]
    assert (elsewhere / "out.sarif").read_text() == render(several(), "sarif")
    assert (elsewhere / "out.xml").read_text() == render(several(), "junit")
    assert (elsewhere / "out.txt").read_text(encoding="utf-8") == render(several(), "text", width=100)
    assert cli("check", "a", "--report", "json=out.json", "-q").err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check"], "give model files, folders or globs"),
        (
            ["check", "a", "--report", "sarfi=x"],
            "sarif, junit, github, markdown, html; did you mean 'sarif'",
        ),
        (["check", "a", "--report", "sarif"], "--report sarif: names no file; give it as sarif=FILE\n"),
        (["check", "a", "--report", "sarif="], "--report sarif=: names no file; give it as sarif=FILE\n"),
        (["check", "a", "--report", "sarif=no/such/x"], "--report sarif: no/such/x: the folder no/such does not exist"),
        (["check", "a.onnx", "--report", "json=a.onnx"], "would overwrite what is read"),
        (["check", "a.onnx", "--write-baseline", "a.onnx"], "would overwrite what is read"),
        (["check", ".", "--report", "json=a.onnx"], "would overwrite what is read"),
        (["check", "*", "--report", "json=a.onnx"], "would overwrite what is read"),
        (["check", "a", "--report", "json=c.toml", "--config", "c.toml"], "would overwrite what is read"),
        (["check", "a", "--report", "json=b.json", "--baseline", "b.json"], "would overwrite what is read"),
        (["check", "a", "--report", "json=d.npy", "--data", "x=d.npy"], "would overwrite what is read"),
        (["check", "a", "--report", "json=e.npy", "--config", "c.toml"], "would overwrite what is read"),
        (["check", "a", "--report", "json=images/1.png", "--data", "images"], "would overwrite what is read"),
        (["check", "a", "--report", "json=o", "--report", "text=./o"], "something else is written there too"),
        (["check", "a", "--report", "json=o", "--write-baseline", "o"], "something else is written there too"),
        (["check", "a", "--baseline", "x", "--write-baseline", "y"], "exclude each other"),
        (["check", "a", "--select", "ND9"], "no rule is called 'ND9'"),
        (["check", "a", "--select", ""], "no rule is chosen (select nothing)"),
        (["check", "a", "--select", " , "], "no rule is chosen"),
        (["check", "a", "--select", "ND101", "--ignore", "ND1,ND101"], "(select ND101, ignore ND1, ND101)"),
        (["check", "a", "--ignore", "drif"], "did you mean 'drift'"),
        (["check", "a", "--fail-on", "eror"], "--fail-on"),
        (["check", "a", "--jobs", "0"], "--jobs"),
        (["check", "a", "--resize", "big"], "--resize big"),
        (["check", "a", "--preprocess", "imgnet"], "--preprocess: 'imgnet' is not understood"),
        (["check", "--show-config", "--format", "sarif"], "TOML"),
    ],
)
def test_wrong_usage_is_one_line_and_2(
    cli: Cli, calls: list[Call], elsewhere: Path, arguments: list[str], message: str
) -> None:
    (elsewhere / "images").mkdir()
    for name in ("a.onnx", "b.json", "d.npy", "e.npy", "images/1.png"):
        (elsewhere / name).touch()
    (elsewhere / "c.toml").write_text('[models."*"]\ndata = "e.npy"')
    result = cli(*arguments)
    assert result.code == 2 and result.out == "" and result.err.count("\n") == 1
    assert message in result.err and calls == []


def test_reports_may_lie_in_a_folder_that_is_checked(cli: Cli, calls: list[Call], elsewhere: Path) -> None:
    (elsewhere / "a.onnx").touch()
    (elsewhere / "o.json").write_text("of the last run")
    assert cli("check", ".", "--report", "json=o.json", "--data", ".", "-q").code == 0
    assert (elsewhere / "o.json").read_text() == render(one_clean(), "json")


def test_a_wrong_configuration_is_one_line_and_2(cli: Cli, calls: list[Call], elsewhere: Path) -> None:
    (elsewhere / "normdiag.toml").write_text("selct = []")
    result = cli("check", "a.onnx")
    assert (result.code, result.out, calls) == (2, "", [])
    assert result.err == "normdiag: normdiag.toml: unknown key 'selct'; did you mean 'select'?\n"


def test_show_config(cli: Cli, calls: list[Call], elsewhere: Path) -> None:
    (elsewhere / "normdiag.toml").write_text('select = ["ND103"]\n[rules.ND103]\ndead_ratio = 0.5\n')
    result = cli("check", "--show-config", "--fail-on", "info", "--data", "x.npz")
    assert result.code == 0 and calls == []
    assert result.out.splitlines() == [
        '# read from "normdiag.toml", with flags over it; paths are relative to "."',
        'select = ["ND103"]',
        "ignore = []",
        'fail-on = "info"',
        "",
        "[rules.ND103]",
        "dead_ratio = 0.5",
        "half = 0.5",
        "",
        '[models."*"]',
        'data = ["x.npz"]',
    ]
    shown = json.loads(cli("check", "--show-config", "--format", "json").out)
    assert shown["source"] == "normdiag.toml" and shown["rules"] == {"ND103": {"dead_ratio": 0.5, "half": 0.5}}


def test_a_baseline_is_written_and_then_known(
    cli: Cli, calls: list[Call], found: list[CheckReport], elsewhere: Path
) -> None:
    found.append(failed())
    result = cli("check", "net.onnx", "--write-baseline", "b.json")
    assert result.code == 0 and "1 error" not in result.out and "1 known" in result.out
    assert result.err == "normdiag: wrote b.json with 1 known findings\n"
    assert json.loads((elsewhere / "b.json").read_text())["findings"] == [
        {"model": "net.onnx", "rule": "ND101", "layer": "bn1", "severity": "error"}
    ]


def test_no_baseline_is_written_of_a_check_that_is_not_whole(
    cli: Cli, calls: list[Call], found: list[CheckReport], elsewhere: Path
) -> None:
    found.append(replace(several(), baseline=None))
    result = cli("check", "net.onnx", "--write-baseline", "b.json", "-q")
    assert result.code == 2 and "not written: not every model could be checked" in result.err
    assert not (elsewhere / "b.json").exists()


def test_an_interrupted_check_writes_its_reports_but_no_baseline(
    cli: Cli, calls: list[Call], found: list[CheckReport], elsewhere: Path
) -> None:
    found.append(replace(one_clean(), unchecked=2))
    result = cli("check", "a", "--write-baseline", "b.json", "--report", "json=o.json")
    assert result.code == 130 and "Failed: interrupted: 1 of 3 models checked." in result.out
    assert "b.json is not written: the run was interrupted" in result.err and not (elsewhere / "b.json").exists()
    assert json.loads((elsewhere / "o.json").read_text())["unchecked"] == 2


def test_the_step_summary_gets_the_report_behind_what_is_there(
    cli: Cli, calls: list[Call], found: list[CheckReport], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = elsewhere / "summary.md"
    summary.write_text("# before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    found.append(several())
    cli("check", "a", "--format", "text")
    assert summary.read_text() == "# before\n"
    cli("check", "a", "--format", "github")
    assert summary.read_text(encoding="utf-8") == "# before\n" + render(several(), "markdown")
    summary.write_text("x" * ((1 << 20) - 300))
    cli("check", "a", "--format", "github")
    assert summary.stat().st_size <= 1 << 20 and summary.read_text().endswith("1 MiB.*\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(elsewhere))
    assert cli("check", "a", "--format", "github").code == 2


def test_whole_process(samples: Path, elsewhere: Path) -> None:
    """Several models and formats, with processes, and nothing on stderr but what was written."""
    (elsewhere / "models").mkdir()
    for name in ("digits_cnn.onnx", "digits_cnn.pt"):
        shutil.copy(samples / name, elsewhere / "models" / name)
    (elsewhere / "broken.onnx").write_bytes(b"\x08\x07")
    result = process("check", "models", "broken.onnx", "--jobs", "2", "--format", "json", "--report", "sarif=o.sarif")
    assert result.returncode == 2
    models = json.loads(result.stdout)["models"]
    assert [model["path"] for model in models] == ["models/digits_cnn.onnx", "models/digits_cnn.pt", "broken.onnx"]
    assert [model["error"] is None for model in models] == [True, True, False]
    assert result.stderr == "normdiag: wrote o.sarif\n" and json.loads((elsewhere / "o.sarif").read_text())


@pytest.mark.parametrize("target", ["/dev/stdout", "/proc/self/fd/1"])
def test_a_report_to_stdout_stands_before_the_text(samples: Path, elsewhere: Path, target: str) -> None:
    """Also where stdout is a file: replaced by a rename, it would lose what is printed later."""
    command = [sys.executable, "-m", "normdiag", "check", samples / "digits_cnn.onnx", "--report", f"sarif={target}"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with (elsewhere / "out").open("w") as out:
        subprocess.run(command, stdout=out, check=True, env=environment, timeout=120)
    text = (elsewhere / "out").read_text(encoding="utf-8")
    log, end = json.JSONDecoder().raw_decode(text)
    assert log["version"] == "2.1.0" and text[end:].lstrip().startswith("normdiag check")
    assert [path.name for path in elsewhere.iterdir()] == ["out"]


def test_a_static_check_imports_little(samples: Path) -> None:
    code = (
        "import sys; from normdiag.cli.app import run; code = run(sys.argv[1:]);"
        "print(*sorted(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    result = process("check", str(samples / "digits_cnn.onnx"), code=code)
    names = set(result.stderr.split())
    assert result.returncode == 0 and "onnx" in names
    unwanted = {"torch", "onnxruntime", "PIL", "rich", "pydantic", "jinja2", "xml.etree.ElementTree", "multiprocessing"}
    assert unwanted & names == set()


@pytest.mark.parametrize("command", ["check", "rule"])
def test_help_imports_nothing_heavy_and_fits(command: str) -> None:
    code = (
        "import sys; from normdiag.cli.app import run; code = run(sys.argv[1:]);"
        "print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr); sys.exit(code)"
    )
    result = process(command, "--help", code=code, COLUMNS="80")
    assert result.returncode == 0 and "Example:" in result.stdout
    assert HEAVY & set(result.stderr.split()) == set()
    assert max(map(len, result.stdout.splitlines())) <= 80 and "…" not in result.stdout
    choices = [each.value for kind in (CheckFormat, Severity, Number) for each in kind] if command == "check" else []
    assert all(choice in result.stdout for choice in choices), "none is broken at the end of a line"


def test_closed_pipe_keeps_the_exit_code(samples: Path) -> None:
    command = [sys.executable, "-m", "normdiag", "check", str(samples / "digits_cnn.pt"), str(samples / "missing.pt")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b"" and child.wait(60) == 2


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "2>&-"])
def test_closed_streams_keep_the_exit_code(samples: Path, closed: str) -> None:
    command = f'"$0" -m normdiag check "$1" "$1.missing" {closed}'
    result = subprocess.run(
        ["bash", "-c", command, sys.executable, samples / "digits_cnn.onnx"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert result.returncode == 2 and result.stderr == "" and ("missing" in result.stdout) == (closed == "2>&-")


def test_the_configuration_can_be_named_or_left_out(cli: Cli, calls: list[Call], elsewhere: Path) -> None:
    (elsewhere / "normdiag.toml").write_text('target = "fp16"')
    (elsewhere / "other.toml").write_text('target = "int8"')
    for options in ([], ["--config", "other.toml"], ["--no-config"]):
        cli("check", "a.onnx", *options)
    assert [call.checking.config.target for call in calls] == ["fp16", "int8", None]


HOSTILE = "::error file=x::pwned ##[error]pwned " + "x" * 60


@pytest.mark.parametrize("command", ["check", "inspect"])
def test_names_are_no_commands_to_the_runner_of_a_github_job(
    cli: Cli, elsewhere: Path, samples: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes `::` at the start of a line, spaces before it or not, and `##[` anywhere."""
    from safetensors.numpy import save_file

    norm = {each: np.full(4, np.nan, np.float32) for each in ("weight", "bias", "running_mean", "running_var")}
    save_file({f"{HOSTILE}.{each}": value for each, value in norm.items()}, elsewhere / "##[x]net.safetensors")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = cli(command, "##[x]net.safetensors")
    assert result.code == 1 and "pwned" in result.out
    assert not re.search(r"^\s*::|##\[", result.out, re.M) and ": :error file=x::pwned" in result.out
    missing = cli(command, "##[x]")
    assert missing.code == 2 and "##[" not in missing.err + missing.out
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert "##[x]" in cli(command, "##[x]net.safetensors").out
