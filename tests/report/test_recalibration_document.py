"""What people read of a recalibration. NORMDIAG_UPDATE_GOLDENS=1 writes the files anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from normdiag.render.text import render_text
from normdiag.report.recalibrate import recalibration_document
from tests.report.recalibration_reports import REPORTS

GOLDENS = Path(__file__).parent / "goldens"


def text_of(name: str, width: int, *, ascii_only: bool = False) -> str:
    return render_text(recalibration_document(REPORTS[name]()), width=width, color=False, ascii_only=ascii_only)


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("name", REPORTS)
def test_report(name: str, width: int) -> None:
    text = text_of(name, width)
    path = GOLDENS / f"recalibrate_{name}_{width}.txt"
    if os.environ.get("NORMDIAG_UPDATE_GOLDENS"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("name", REPORTS)
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    assert max(map(len, text_of(name, width).splitlines())) <= width
    assert text_of(name, width, ascii_only=True).isascii()
