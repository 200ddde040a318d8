"""Pages of the docs that are written from the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import normdiag

ROOT = Path(__file__).resolve().parents[1]
WRITE = ("typer", "normdiag.cli.all_commands", "utils", "docs", "--name", "normdiag", "--title", "The command line")


def test_the_page_of_the_command_line_is_that_of_the_code() -> None:
    command = (sys.executable, "-m", *WRITE)
    printed = subprocess.run(command, capture_output=True, check=True, text=True, cwd=ROOT).stdout
    shown = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert shown.strip() == printed.strip(), f"write it anew: python -m {' '.join(WRITE)!r} --output docs/cli.md"


def test_the_page_of_the_api_has_all_that_is_public() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: normdiag\.(\w+)$", text, re.M)
    assert sorted([*shown, "__version__"]) == sorted(normdiag.__all__)
