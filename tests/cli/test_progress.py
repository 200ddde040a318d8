"""Progress is shown to someone who watches stderr, and to nobody else."""

from __future__ import annotations

import io
import sys

import pytest

from normdiag.cli.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def watched(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """stderr as a terminal; not a fixture, for pytest sets its own stderr between fixtures and test."""
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_bar_shows_count_and_rate_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    with progress_bar(quiet=False) as update:
        assert update is not None
        assert terminal.getvalue() == ""  # nothing before the first batch
        update(64, 1000)
        update(320, 1000)
    assert "320/1,000 samples" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K")  # the line is cleared


def test_bar_without_a_total(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    with progress_bar(quiet=False) as update:
        assert update is not None
        update(64, None)
    assert "64 samples" in terminal.getvalue()


def test_bar_goes_when_the_run_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    with pytest.raises(ZeroDivisionError), progress_bar(quiet=False) as update:
        assert update is not None
        update(1, 2)
        raise ZeroDivisionError
    assert terminal.getvalue().endswith("\x1b[2K")


def test_quiet_and_pipes_get_none(monkeypatch: pytest.MonkeyPatch) -> None:
    watched(monkeypatch)
    with progress_bar(quiet=True) as update:
        assert update is None
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_bar(quiet=False) as update:
        assert update is None
