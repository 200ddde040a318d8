"""The pages for the questions that people come with show what their commands print.

NORMDIAG_UPDATE_GOLDENS=1 writes the output anew; read the diff.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from normdiag.cli.app import run
from tests.test_project import masked

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs" / "questions").glob("*.md"))
COMMAND = re.compile(r"^<!-- command -->\n```sh\n(.+)\n```$", re.M)
OUTPUT = re.compile(r"(^<!-- output -->\n```text\n)(.*?)(^```$)", re.M | re.S)


@pytest.mark.exports
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_what_its_command_prints(
    page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = page.read_text(encoding="utf-8")
    command, output = COMMAND.search(text), OUTPUT.search(text)
    assert command and output, "a command and its output, after their markers"
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("NO_COLOR", "1")
    assert run(shlex.split(command[1])[1:]) in (0, 1)
    printed = capsys.readouterr().out.strip()
    if os.environ.get("NORMDIAG_UPDATE_GOLDENS"):
        page.write_text(OUTPUT.sub(lambda found: f"{found[1]}{printed}\n{found[3]}", text), encoding="utf-8")
        return
    assert masked(output[2].strip()) == masked(printed)


def test_every_page_begins_with_its_question_and_is_found() -> None:
    assert len(PAGES) == 6
    listed = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        title = page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        assert f"[{title}](questions/{page.name})" in listed
