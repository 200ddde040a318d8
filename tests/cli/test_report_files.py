"""`--report`: files written beside what is printed, in any format, by every command that has a report."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Result

Cli = Callable[..., Result]
SAMPLES = Path(__file__).parents[2] / "sample_models"
MODEL = SAMPLES / "digits_cnn.onnx"
DATA = ("--data", SAMPLES / "digits.npz", "--max-samples", 64)
COMMANDS = {
    "inspect": ("inspect", MODEL, "--no-config"),
    "fold": ("fold", MODEL, "--dry-run"),
    "recalibrate": ("recalibrate", MODEL, "--dry-run", *DATA),
    "check": ("check", MODEL, "--no-config"),
    "history": (
        "history",
        *(SAMPLES / f"digits_mlp_batch_{step}.pt" for step in ("0100", "1000")),
        *("--arch", f"{SAMPLES / 'net.py'}:DigitsMLP", "--arch-arg", "norm=batch", *DATA),
    ),
    "preprocess": ("preprocess", MODEL, *DATA),
    "profile": ("profile", MODEL, *DATA, "--force", "-o", "out.profile"),
    "diff": ("diff", MODEL, SAMPLES / "digits_cnn_training.onnx", *DATA),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_writes_a_page_beside_what_it_prints(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "out.html"
    plain = cli(*COMMANDS[command])
    with_page = cli(*COMMANDS[command], "--report", f"html={page}")
    assert with_page.code == plain.code
    if command != "check":  # which prints the seconds that it took
        assert with_page.out == plain.out
    assert f"normdiag: wrote {page}\n" in with_page.err
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and f"<title>normdiag {command}" in text


def test_other_formats_and_several_files(cli: Cli, tmp_path: Path) -> None:
    files = {kind: tmp_path / f"out.{kind}" for kind in ("html", "json", "text")}
    options = [word for kind, path in files.items() for word in ("--report", f"{kind}={path}")]
    done = cli(*COMMANDS["inspect"], *options, "-q")
    assert (done.code, done.err) == (0, "")
    assert json.loads(files["json"].read_text())["model"]["path"] == str(MODEL)
    assert files["text"].read_text(encoding="utf-8").startswith("normdiag inspect\n")


def test_all_puts_every_channel_into_the_page(cli: Cli, tmp_path: Path) -> None:
    cli("check", MODEL, "--no-config", "--format", "html", "--all")
    sizes = []
    for options in ((), ("--all",)):
        page = tmp_path / f"out{len(options)}.html"
        assert cli(*COMMANDS["inspect"], *options, "--report", f"html={page}").code == 0
        sizes.append(page.stat().st_size)
    assert sizes[0] <= sizes[1]


@pytest.mark.parametrize("command", ["inspect", "fold", "recalibrate", "diff", "preprocess", "profile"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("htm=x", "give it as FORMAT=FILE with one of html, json, text; did you mean 'html'"),
        ("html", "names no file; give it as html=FILE"),
        ("sarif=x", "with one of html, json, text"),
        ("html=THE_MODEL", "would overwrite what is read"),
        ("html=no/such/x", "--report html: no/such/x: the folder no/such does not exist"),
    ],
)
def test_files_that_cannot_be_are_refused_before_any_work(
    cli: Cli, tmp_path: Path, command: str, value: str, message: str
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(MODEL.read_bytes())
    arguments = [model if each == MODEL else each for each in COMMANDS[command]]
    done = cli(*arguments, "--report", value.replace("THE_MODEL", str(model)))
    assert (done.code, done.out) == (2, "")
    assert message in done.err.replace(os.sep, "/") and model.read_bytes() == MODEL.read_bytes()


def test_two_results_in_one_file_are_refused(cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "o.onnx"
    done = cli("fold", MODEL, "-o", target, "--report", f"html={target}")
    assert done.code == 2 and "something else is written there too" in done.err and not target.exists()


def test_a_profile_has_a_page_too(cli: Cli, tmp_path: Path) -> None:
    profile, page = tmp_path / "a.profile", tmp_path / "a.html"
    assert cli("profile", MODEL, *DATA, "-o", profile, "-q").code == 0
    assert cli("inspect", profile, "--report", f"html={page}").code == 0
    assert "<title>normdiag profile" in page.read_text(encoding="utf-8")
    done = cli("inspect", profile, "--report", f"json={profile}")
    assert done.code == 2 and "would overwrite what is read" in done.err
