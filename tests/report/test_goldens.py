"""What users read, as files to look at: NORMDIAG_UPDATE_GOLDENS=1 writes them anew, `git diff` shows what changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.report.reports import REPORTS, faulty, static_only, transformer
from tests.report.texts import inspect_text

GOLDENS = Path(__file__).parent / "goldens"
DETAILS = {
    "channels_of_batch_norm": (faulty, "layer1.3.bn1"),
    "channels_of_layer_norm": (transformer, "blocks.2.norm1"),
    "channels_of_weights": (static_only, "bn1"),
}


def check(name: str, text: str) -> None:
    path = GOLDENS / f"{name}.txt"
    if os.environ.get("NORMDIAG_UPDATE_GOLDENS"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("name", REPORTS)
def test_report(name: str, width: int) -> None:
    check(f"{name}_{width}", inspect_text(REPORTS[name](), width=width, color=False))


@pytest.mark.parametrize("name", DETAILS)
def test_channels(name: str) -> None:
    report, layer = DETAILS[name]
    text = inspect_text(report(), width=80, color=False, channels=layer)
    start = text.index("Channels of")
    check(name, text[start : text.find("\n\n", start)] + "\n")


def test_colour() -> None:
    check("faulty_colour", inspect_text(faulty(), width=80, color=True))


def test_ascii() -> None:
    text = inspect_text(faulty(), width=80, color=False, ascii_only=True)
    assert text.isascii()
    check("faulty_ascii", text)
