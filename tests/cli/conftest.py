"""The command line with an `inspect` after it that records how it was called, and returns a report made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from normdiag.cli.app import run
from normdiag.records import Report
from tests.report.reports import healthy


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Called(NamedTuple):
    model: Any
    options: dict[str, Any]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Called]:
    """Every call of the API by the command line, which gets a healthy report."""
    seen: list[Called] = []

    def fake(model: Any, **options: Any) -> Report:
        seen.append(Called(model, options))
        return healthy()

    monkeypatch.setattr("normdiag.commands.check.inspect", fake)
    return seen


@pytest.fixture
def returns(monkeypatch: pytest.MonkeyPatch) -> Callable[[Report | BaseException], None]:
    """Sets the report that the API returns, or the exception that it raises."""

    def choose(outcome: Report | BaseException) -> None:
        def fake(model: Any, **options: Any) -> Report:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setattr("normdiag.commands.check.inspect", fake)

    return choose


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command line in this process."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NORMDIAG_DEBUG", raising=False)

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        return Result(code, *capfd.readouterr())

    return call
