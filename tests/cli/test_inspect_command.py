"""`normdiag inspect`: options to the API, report to the right place, exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from normdiag.data import DataOptions
from normdiag.models import LoadOptions
from normdiag.ops import SATURATION_THRESHOLD
from normdiag.records import Finding, Report
from normdiag.render.json import SCHEMA_VERSION, to_json
from normdiag.rules import RULES
from tests.cli.conftest import Called, Result
from tests.report.reports import faulty, healthy, interrupted, static_only
from tests.report.texts import inspect_text

Cli = Callable[..., Result]


def test_defaults_are_those_of_the_api(cli: Cli, calls: list[Called]) -> None:
    assert cli("inspect", "net.onnx").code == 0
    (call,) = calls
    assert call.model == "net.onnx"
    assert call.options == {
        "data": (),
        "train_data": (),
        "data_options": DataOptions(),
        "load_options": LoadOptions(stream="auto"),
        "device": "cpu",
        "distributed": True,
        "attribute": False,
        "serve_batch": None,
        "progress": None,
        "reference": None,
        "rules": RULES,
        "target": None,
        "threshold": SATURATION_THRESHOLD,
    }


def test_every_option_reaches_the_api(cli: Cli, calls: list[Called]) -> None:
    given = (
        "inspect net.pt --data a=x.npy --data b=y.npy --preprocess imagenet --batch-size 16 --max-samples 100 --seed 3"
        " --device cuda --resize 256 --crop 224x192 --grayscale --input-shape a=3,8,8 --input-shape b=4 --serve-batch 4"
        " --target bf16 --arch net.py:Net --arch-arg n=1 --arch-arg m=2 --key ema --attribute"
        " --saturation-threshold 0.1 --stream always --quiet"
    )
    assert cli(*given.split()).code == 0
    (call,) = calls
    assert call.options["data"] == ("a=x.npy", "b=y.npy")
    assert call.options["data_options"] == DataOptions(
        preprocess="imagenet",
        batch_size=16,
        max_samples=100,
        seed=3,
        resize=256,
        crop=(224, 192),
        grayscale=True,
        input_shapes=("a=3,8,8", "b=4"),
    )
    reading = LoadOptions(key="ema", arch="net.py:Net", arch_args=("n=1", "m=2"), stream="always")
    assert call.options["load_options"] == reading
    assert (call.options["serve_batch"], call.options["target"]) == (4, "bf16")
    assert (call.options["device"], call.options["attribute"], call.options["threshold"]) == ("cuda", True, 0.1)


def test_trust_and_rgb(cli: Cli, calls: list[Called]) -> None:
    cli("inspect", "net.pt", "--trust", "--data", "images", "--rgb")
    assert calls[0].options["load_options"].trust is True
    assert calls[0].options["data_options"].grayscale is False


def test_text_goes_to_stdout_and_nothing_else_anywhere(cli: Cli, calls: list[Called]) -> None:
    result = cli("inspect", "net.onnx")
    assert result == Result(0, inspect_text(healthy(), width=80, color=False), "")


def test_width_follows_columns(cli: Cli, calls: list[Called], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert cli("inspect", "net.onnx").out == inspect_text(healthy(), width=120, color=False)


@pytest.mark.parametrize("option", [["--json"], ["--format", "json"], ["--json", "--format", "json"]])
def test_json(cli: Cli, calls: list[Called], option: list[str]) -> None:
    assert json.loads(cli("inspect", "net.onnx", *option).out) == json.loads(json.dumps(to_json(healthy())))


def test_all_and_channels(cli: Cli, returns: Callable[..., None]) -> None:
    returns(faulty())
    result = cli("inspect", "net.onnx", "--all", "--channels", "bn1")
    assert result.out == inspect_text(faulty(), width=80, color=False, all_layers=True, channels="bn1")
    assert (
        json.loads(cli("inspect", "net.onnx", "--json", "--channels", "bn1").out)["channels_detail"]["layer"] == "bn1"
    )


def test_unknown_channels(cli: Cli, calls: list[Called]) -> None:
    for option in ([], ["--json"]):
        result = cli("inspect", "net.onnx", "--channels", "layer1.0.bn7", *option)
        assert result.code == 2 and result.out == ""
        assert result.err.count("\n") == 1 and "layer1.0.bn1" in result.err


@pytest.mark.parametrize(("severity", "code"), [("error", 1), ("warning", 0), ("info", 0)])
def test_exit_code_follows_the_severest_finding(
    cli: Cli, returns: Callable[..., None], severity: str, code: int
) -> None:
    finding = Finding("ND301", "drift", severity, "high", ("bn1",), "drift", "")  # type: ignore[arg-type]
    returns(replace(healthy(), findings=(finding,)))
    assert cli("inspect", "net.onnx").code == code
    assert cli("inspect", "net.onnx", "--json").code == code


@pytest.mark.parametrize(("report", "code"), [(healthy(), 0), (static_only(), 1)])
def test_data_can_be_required(cli: Cli, returns: Callable[..., None], report: Report, code: int) -> None:
    returns(report)
    assert cli("inspect", "net.onnx").code == 0
    assert cli("inspect", "net.onnx", "--require-data").code == code


def test_interrupted_run_prints_its_report_and_exits_130(cli: Cli, returns: Callable[..., None]) -> None:
    returns(interrupted())
    result = cli("inspect", "net.onnx")
    assert result.code == 130 and "interrupted: all below rests on the 1 sample" in result.out


def test_colour_only_where_it_is_wanted(cli: Cli, calls: list[Called], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" in cli("inspect", "net.onnx", "--color").out
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b" not in cli("inspect", "net.onnx").out
    assert "\x1b" not in cli("inspect", "net.onnx", "--no-color").out


def test_output_file(cli: Cli, returns: Callable[..., None], tmp_path: Path) -> None:
    returns(faulty())
    target = tmp_path / "report.txt"
    result = cli("inspect", "net.onnx", "-o", target)
    assert result.code == 1 and result.out == ""
    assert result.err == f"normdiag: wrote {target} (1 error, 7 other findings)\n"
    assert target.read_text(encoding="utf-8") == inspect_text(faulty(), width=100, color=False)
    assert cli("inspect", "net.onnx", "-o", target, "--json", "--quiet").err == ""
    assert json.loads(target.read_text(encoding="utf-8"))["schema_version"] == SCHEMA_VERSION


def test_output_dash_is_stdout(cli: Cli, calls: list[Called], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("inspect", "net.onnx", "-o", "-").out.startswith("normdiag inspect")
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_is_never_overwritten(
    cli: Cli, calls: list[Called], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("net.onnx", "x.npy", "net.py"):
        Path(name).write_text("precious")
    Path("link.onnx").symlink_to("net.onnx")
    for model, data, output in [
        ("net.onnx", "x.npy", "net.onnx"),
        ("net.onnx", "x.npy", "./link.onnx"),
        ("net.onnx", "x.npy", "x.npy"),
        ("net.onnx", "input=x.npy", "x.npy"),
        ("net.onnx", "*.npy", "x.npy"),
        ("net.onnx", "net.py:batches", "net.py"),
    ]:
        result = cli("inspect", model, "--data", data, "-o", output)
        assert result.code == 2 and "would overwrite" in result.err
    assert cli("inspect", "net.onnx", "--arch", "net.py:Net", "-o", "net.py").code == 2
    assert calls == []
    assert {Path(name).read_text() for name in ("net.onnx", "x.npy", "net.py")} == {"precious"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect"], "Missing argument 'MODEL'"),
        (["inspect", "a", "b"], "unexpected extra argument"),
        (["inspect", "a", "--batch-size", "0"], "--batch-size must be at least 1"),
        (["inspect", "a", "--batch-size", "many"], "--batch-size"),
        (["inspect", "a", "--max-samples", "0"], "--max-samples must be at least 1"),
        (["inspect", "a", "--seed", "-1"], "--seed"),
        (["inspect", "a", "--resize", "big"], "--resize big: give one size"),
        (["inspect", "a", "--crop", "0"], "--crop must be at least 1"),
        (["inspect", "a", "--crop", "4x"], "--crop 4x: give one size"),
        (["inspect", "a", "--format", "yaml"], "--format"),
        (["inspect", "a", "--json", "--format", "text"], "contradict"),
        (["inspect", "a", "--jsn"], "--json"),
        (["inspect", "a", "-o", "no/such/folder/r.json"], "does not exist"),
        (["inspect", "a", "-o", "/"], "is a folder"),
        (["inspekt"], "No such command 'inspekt'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(cli: Cli, calls: list[Called], arguments: list[str], message: str) -> None:
    result = cli(*arguments)
    assert result.code == 2 and result.out == "" and calls == []
    assert message in result.err
    assert result.err.count("\n") == 1 and result.err.startswith("normdiag: ")


def test_a_configuration_sets_rules_limits_target_and_data(
    cli: Cli, calls: list[Called], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "normdiag.toml").write_text(
        'ignore = ["ND2"]\ntarget = "fp16"\n[rules.ND301]\ndrift = 0.3\n[per-file-ignores]\n"old/*" = ["ND104"]\n'
        '[models."*.onnx"]\ndata = "val.npz"\nbatch-size = 8\nserve-batch = 4\n'
    )
    (tmp_path / "old").mkdir()
    monkeypatch.chdir(tmp_path / "old")
    result = cli("inspect", "net.onnx", "--batch-size", "16")
    (call,) = calls
    chosen = {rule.id: rule for rule in call.options["rules"]}
    assert "ND203" not in chosen and "ND104" not in chosen and chosen["ND301"].limits["drift"] == 0.3
    assert (call.options["target"], call.options["serve_batch"]) == ("fp16", 4)
    assert call.options["data"] == ("../val.npz",) and call.options["data_options"] == DataOptions(
        batch_size=16, allow_code=False
    )
    assert "as ../normdiag.toml has them (--no-config" in " ".join(result.out.split())


def test_ignored_layers_are_left_out(
    cli: Cli, returns: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    returns(faulty())
    assert cli("inspect", "net.onnx").code == 1
    (tmp_path / "pyproject.toml").write_text('[tool.normdiag.per-layer-ignores]\n"*" = ["ND"]\n')
    result = cli("inspect", "net.onnx", "--json")
    assert result.code == 0
    assert all(finding["layer"] is None for finding in json.loads(result.out)["findings"])


def test_the_configuration_can_be_named_or_left_out(
    cli: Cli, calls: list[Called], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "normdiag.toml").write_text('select = ["ND1"]')
    (tmp_path / "other.toml").write_text('select = ["ND3"]')
    assert cli("inspect", "net.onnx", "--config", "other.toml").code == 0
    assert cli("inspect", "net.onnx", "--no-config").out == inspect_text(healthy(), width=80, color=False)
    assert [{rule.id[:3] for rule in call.options["rules"]} for call in calls] == [
        {"ND3"},
        {rule.id[:3] for rule in RULES},
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config", "absent.toml"], "absent.toml: cannot be read"),
        (["--config", "wrong.toml"], "wrong.toml: unknown key 'selct'; did you mean 'select'?"),
        (["--config", "wrong.toml", "--no-config"], "--config and --no-config contradict each other"),
    ],
)
def test_a_wrong_configuration_is_one_line_and_2(
    cli: Cli,
    calls: list[Called],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.toml").write_text("selct = []")
    for command in ("inspect", "check"):
        result = cli(command, "net.onnx", *options)
        assert (result.code, result.out, calls) == (2, "", [])
        assert result.err.startswith(f"normdiag: {message}") and result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("inspect", "--attribute"),
        ("inspect", "--stream always"),
        *((command, option) for command in ("inspect", "check") for option in ("--serve-batch 4", "--seed 0")),
        *(
            (command, option)
            for command in ("inspect", "check", "fold -o f.onnx")
            for option in ("--preprocess raw", "--rgb")
        ),
    ],
)
def test_an_option_that_would_do_nothing_without_data_is_refused(
    command: str, option: str, cli: Cli, calls: list[Called], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = option.split(maxsplit=1)[0]
    result = cli(*command.split(), "net.onnx", *option.split())
    assert (result.code, result.err) == (2, f"normdiag: {name} does nothing without --data (your own, or random)\n")


def test_a_comparison_with_other_data_wants_data_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    """Random data is refused there, so that it is not offered."""
    result = cli("inspect", "net.onnx", "--reference", "a.profile")
    assert (result.code, result.err) == (2, "normdiag: --reference does nothing without --data of your own\n")


def test_the_configuration_may_hold_the_data_or_wait_for_it(
    cli: Cli, calls: list[Called], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "normdiag.toml").write_text('[models."*.onnx"]\ndata = "val.npz"\n[models."*.pt"]\npreprocess = "raw"')
    assert cli("inspect", "net.onnx", "--serve-batch", "4").code == 0
    assert cli("inspect", "net.pt").code == 0
    assert cli("inspect", "net.pt", "--serve-batch", "4").code == 2


def test_auto_may_stand_for_a_preparation(cli: Cli, calls: list[Called]) -> None:
    assert cli("inspect", "net.onnx", "--data", "x.npy", "--preprocess", "auto").code == 0
    assert calls[0].options["data_options"] == DataOptions(preprocess="auto")
