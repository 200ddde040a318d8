"""A few hundred damaged files: no crash, no traceback, no waiting, no memory, nothing run."""

from __future__ import annotations

import random
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.limited import Outcome, run_limited
from tests.fuzz.mutate import mutated
from tests.fuzz.seeds import seeds

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 8
LINE = "normdiag: net.pt: damaged\n"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and waits by pidfd")


@pytest.mark.timeout(1200)
def test_damaged_files_end_in_a_report_or_in_one_line(tmp_path: Path) -> None:
    """In a process of its own: a fork of this one would begin with the memory that all tests before have taken."""
    command = [sys.executable, "-m", "tests.fuzz", "--cases", f"{ROUNDS * 41}", "--seed", "1", "--keep", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{sorted(path.name for path in tmp_path.iterdir())}"
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in done.stdout.splitlines()[2:]]
    assert {int(row[1]) for row in rows} == {ROUNDS, 4 * ROUNDS} and len(rows) == 14
    assert sum(int(row[3]) for row in rows) > 60, "the damage is felt"
    assert sum(int(row[2]) for row in rows) > 15, "and does not destroy everything"


@pytest.mark.parametrize(
    ("outcome", "failure"),
    [
        (Outcome(2, 0.1, 80, "", LINE), None),
        (Outcome(0, 0.1, 80, "a report", ""), None),
        (Outcome(-11, 0.1, 80, "", ""), "crash"),
        (Outcome(2, 0.1, 80, "net.pt: internal error: KeyError: x", ""), "traceback"),
        (Outcome(-9, 6.0, 80, "", ""), "slow"),
        (Outcome(0, 0.1, 900, "", ""), "memory"),
        (Outcome(2, 0.1, 80, "", LINE * 2), "lines"),
        (Outcome(70, 0.1, 80, "", ""), "exit code"),
    ],
)
def test_what_counts_as_a_failure(outcome: Outcome, failure: str | None) -> None:
    assert outcome.failure(one_line=True) == failure


def test_what_is_damaged_was_whole(tmp_path: Path) -> None:
    for each in seeds(tmp_path):
        path = tmp_path / each.name
        path.write_bytes(each.content)
        outcome = run_limited(shlex.split(each.command.format(path)), tmp_path)
        assert outcome.code in (0, 1), (each.kind, outcome.out, outcome.err)
        path.unlink()


def test_a_campaign_can_be_repeated(tmp_path: Path) -> None:
    known = seeds(tmp_path)
    once, twice = ([mutated(each, random.Random(i)) for i, each in enumerate(known)] for _ in range(2))
    assert once == twice and sum(a != each.content for a, each in zip(once, known, strict=True)) > len(known) / 2
