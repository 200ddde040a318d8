"""Progress of a long run in a notebook: a bar under the cell, gone when the run is done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

from normdiag.report.words import progress_words

P = ParamSpec("P")
R = TypeVar("R")
# Seconds between two updates: each is a message to the browser.
PAUSE = 0.1


def shows_progress(unit: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a function with the argument `progress` a bar in notebooks, unless the caller says what it is to be."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def shown(*args: P.args, **kwargs: P.kwargs) -> R:
            if "progress" in kwargs or not in_notebook():
                return function(*args, **kwargs)
            with notebook_bar(unit) as progress:
                kwargs["progress"] = progress
                return function(*args, **kwargs)

        return shown

    return decorate


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook, not in IPython's shell in a terminal."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


@contextmanager
def notebook_bar(unit: str) -> Iterator[Callable[..., None]]:
    """A function to call with what is done and the total (None: unknown). Needs IPython alone, and no widgets."""
    display: Any = import_module("IPython.display")
    started = last = time.monotonic()
    handle: Any = None

    def update(done: int, total: int | None, *_: object) -> None:
        nonlocal handle, last
        now = time.monotonic()
        if now - last < PAUSE:
            return
        last = now
        shown = _bar(done, total, progress_words(done, total, done / (now - started), unit))
        if handle is None:
            handle = display.display(shown, raw=True, display_id=True)
        else:
            handle.update(shown, raw=True)

    try:
        yield update
    finally:
        if handle is not None:
            handle.update({"text/html": "", "text/plain": ""}, raw=True)


def _bar(done: int, total: int | None, words: str) -> dict[str, str]:
    """By MIME type."""
    from html import escape  # here, so that a command line does not wait for its table of entities

    extent = "" if total is None else f' value="{done}" max="{total}"'
    return {
        "text/html": f'<progress{extent} aria-label="normdiag"></progress> {escape(words)}',
        "text/plain": words,
    }
