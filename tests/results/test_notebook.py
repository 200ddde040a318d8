"""A bar in notebooks, where the kernel is; none elsewhere, and none where the caller has a say."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from normdiag.results import notebook
from normdiag.results.notebook import shows_progress

Progress = Any


@shows_progress("samples")
def work(total: int | None, *, progress: Progress = None) -> str:
    """Three batches of ten."""
    for done in (10, 20, 30):
        if progress is not None:
            progress(done, total)
    return "nobody watched" if progress is None else "watched"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What a kernel was told to display, in a notebook that is made up."""
    told: list[dict[str, str]] = []

    class Handle:
        def update(self, data: dict[str, str], *, raw: bool) -> None:
            assert raw
            told.append(data)

    def display(data: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert raw and display_id
        told.append(data)
        return Handle()

    package, module = ModuleType("IPython"), ModuleType("IPython.display")
    package.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(notebook, "PAUSE", -1.0)
    return told


def test_a_notebook_shows_a_bar_that_goes(shown: list[dict[str, str]]) -> None:
    assert work(30) == "watched"
    assert 'value="20" max="30"' in shown[1]["text/html"] and shown[1]["text/plain"].startswith("20/30 samples")
    assert shown[-1] == {"text/html": "", "text/plain": ""} and len(shown) == 4


def test_an_unknown_total_is_a_bar_without_an_end(shown: list[dict[str, str]]) -> None:
    work(None)
    assert "max=" not in shown[0]["text/html"] and shown[0]["text/plain"].startswith("10 samples")


def test_updates_are_not_more_than_a_browser_takes(
    shown: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "PAUSE", 3600.0)
    assert work(30) == "watched" and shown == []


def test_the_caller_has_the_say(shown: list[dict[str, str]]) -> None:
    assert work(30, progress=None) == "nobody watched"
    seen: list[int] = []
    assert work(30, progress=lambda done, total: seen.append(done)) == "watched"
    assert seen == [10, 20, 30] and shown == []


def test_a_failure_leaves_no_bar(shown: list[dict[str, str]]) -> None:
    @shows_progress("samples")
    def failing(*, progress: Progress = None) -> None:
        progress(1, 2)
        raise ValueError

    with pytest.raises(ValueError):
        failing()
    assert shown[-1]["text/html"] == ""


def test_elsewhere_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert work(30) == "nobody watched"
    terminal = ModuleType("IPython")
    terminal.get_ipython = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", terminal)
    assert work(30) == "nobody watched"
