"""What the benchmarks of whole processes share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.processes import Pair, apart, compare, cost, python


def leave(path: Path, text: str) -> None:
    path.write_text(text)


def fail() -> None:
    raise SystemExit(3)


def test_work_is_done_apart_and_its_failure_is_no_secret(tmp_path: Path) -> None:
    apart(leave, tmp_path / "f", "done")
    assert (tmp_path / "f").read_text() == "done"
    with pytest.raises(SystemExit, match="fail"):
        apart(fail)


def test_a_process_costs_what_it_takes() -> None:
    idle = cost(python("import time; time.sleep(0.3)"))
    assert idle.seconds > idle.processor + 0.25
    with pytest.raises(SystemExit, match="failed"):
        cost(python("raise SystemExit(1)"))


def test_peak_memory_is_that_of_the_process() -> None:
    """Asked from a process of its own, for this one may be large."""
    code = "from benchmarks.processes import cost, python; print(*(cost(python(each)).memory for each in {!r}))"
    ask = python(code.format(("pass", "data = b'x' * 2**28")))
    small, large = map(float, subprocess.run(ask, capture_output=True, check=True, text=True).stdout.split())
    assert small < 100 and 256 < large < 256 + 100


def test_a_line_for_each_pair(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", "--rounds", "1"])
    compare("", lambda folder: [Pair("one", python("raise SystemExit(1)"), python("pass"), 2.0)])
    *_, title, rule, row = capsys.readouterr().out.splitlines()
    assert row.startswith("| one |")
    assert {line.count("|") for line in (title, rule, row)} == {10}
