"""The examples of the docstrings do what they say."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PYTHON_API = {
    "normdiag.commands.inspect": "inspect",
    "normdiag.commands.fold": "fold",
    "normdiag.commands.recalibrate": "recalibrate",
    "normdiag.commands.check": "check",
    "normdiag.commands.preprocess": "preprocess",
    "normdiag.commands.diff": "diff",
    "normdiag.commands.profile": "profile",
    "normdiag.commands.history": "history",
    "normdiag.commands.path": "interpolate",
    "normdiag.results.inspection": "Inspection",
    "normdiag.testing": "assert_healthy",
    "normdiag.callbacks.watch": "Watch",
}


@pytest.mark.parametrize("module", [pytest.param(each, marks=pytest.mark.exports) for each in PYTHON_API])
def test_examples_run(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    documented = getattr(import_module(module), PYTHON_API[module])
    found = [each for each in doctest.DocTestFinder().find(documented, PYTHON_API[module]) if each.examples]
    assert found, f"{PYTHON_API[module]} has no example"
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    told: list[str] = []
    for each in found:
        runner.run(each, out=told.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(told)
