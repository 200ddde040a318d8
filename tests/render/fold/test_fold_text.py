"""What people read of a fold. NORMDIAG_UPDATE_GOLDENS=1 writes the files anew."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from normdiag.records import FoldStep
from normdiag.render.fold.text import render_fold
from tests.render.fold.fold_reports import REPORTS, clean, mixed

GOLDENS = Path(__file__).parent / "goldens"


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("name", REPORTS)
def test_report(name: str, width: int) -> None:
    text = render_fold(REPORTS[name](), width=width, color=False)
    path = GOLDENS / f"{name}_{width}.txt"
    if os.environ.get("NORMDIAG_UPDATE_GOLDENS"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("name", REPORTS)
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    assert max(map(len, render_fold(REPORTS[name](), width=width, color=False).splitlines())) <= width


def test_nothing_from_the_file_controls_the_terminal() -> None:
    assert "\x1b" not in render_fold(mixed(), width=80, color=False)
    assert render_fold(mixed(), width=80, color=False, ascii_only=True).isascii()


def test_long_plans_are_cut_and_said_so() -> None:
    steps = tuple(FoldStep(f"bn{i}", "batch_norm", "before", (f"conv{i}",)) for i in range(60))
    report = replace(clean(), plan=replace(clean().plan, steps=steps, norms=60))
    assert "more folds" in render_fold(report, width=80, color=False)
    assert "more folds" not in render_fold(report, width=80, color=False, all_layers=True)
