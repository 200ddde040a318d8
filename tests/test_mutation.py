"""The table of the mutation score; the run itself is nightly (`python -m tests.mutation`)."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests import mutation

try:
    import tomllib
except ImportError:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
RESULTS = {
    "normdiag.metrics.drift.x_moments__mutmut_1": "killed",
    "normdiag.metrics.gap.x_gap__mutmut_2": "survived",
    "normdiag.folding.walk.x_up__mutmut_1": "timeout",
    "normdiag.folding.walk.x_up__mutmut_2": "no tests",
}


def test_the_table_counts_by_part() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in mutation.table(RESULTS).splitlines()]
    assert rows[2:] == [
        ["folding/walk", "2", "1", "0", "1", "50%"],
        ["metrics", "2", "1", "1", "0", "50%"],
        ["all", "4", "2", "1", "1", "50%"],
    ]
    assert mutation.score([]) == 1.0


def test_a_sample_is_seeded_and_a_low_score_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs: list[tuple[str, ...]] = []

    def fake(*arguments: str) -> str:
        runs.append(arguments)
        return "\n".join(f"    {name}: {status}" for name, status in RESULTS.items())

    monkeypatch.setattr(mutation, "_mutmut", fake)
    assert mutation.main(["--sample", "2", "--seed", "3", "--at-least", "0"]) == 0
    assert mutation.main(["--sample", "2", "--seed", "3"]) == 0
    sampled = [run[3:] for run in runs if run[0] == "run" and run[3:] != (mutation.FEW,)]
    assert sampled[0] == sampled[1] and len(set(sampled[0])) == 2
    assert mutation.main(["--at-least", "0.6"]) == 1
    assert "- `normdiag.metrics.gap.x_gap__mutmut_2`" in capsys.readouterr().out


def test_every_file_that_is_named_exists_and_the_four_parts_are_among_them() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "normdiag").rglob("*.py")]
    for pattern in settings["only_mutate"]:
        assert any(fnmatch(file, pattern) for file in files), pattern
    for file in ("metrics/drift", "diagnosis/coverage", "folding/plan", "folding/draft", "folding/bound"):
        assert any(fnmatch(f"normdiag/{file}.py", pattern) for pattern in settings["only_mutate"]), file
    for path in settings["pytest_add_cli_args_test_selection"]:
        assert (ROOT / path).exists(), path
    assert re.match(r"normdiag\.folding\.bound\.", mutation.FEW)
