"""docs/profile.md shows what the commands on it print, but for the digits, which processors round differently."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from normdiag.cli.app import run
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "profile.md").read_text(encoding="utf-8")
COMMANDS = re.findall(
    r"\n    normdiag ([^\n#]*digits[^\n#]*)\n(?:(?!\n    normdiag).)*?\n```\n(.*?)```", PAGE, re.DOTALL
)


def without_digits(text: str) -> str:
    return " ".join(re.sub(r"\d[\d.,]*(?:e[-+]?\d+)?|[0-9a-f]{64}|─+", "0", text).split())


def test_it_shows_the_commands(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("digits_cnn_group.onnx", "digits_cnn_folded.onnx", "digits_cnn.pt", "digits.npz", "digits_train.npz"):
        (tmp_path / name).symlink_to(samples / name)
    assert len(COMMANDS) == 4
    for command, shown in COMMANDS:
        assert run([*command.split(), "--quiet"]) in (0, 1)
        assert without_digits(shown) in without_digits(capfd.readouterr().out), command
