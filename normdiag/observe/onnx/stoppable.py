"""Calls into onnxruntime that Ctrl-C and a deadline can end: while one runs, Python sees no signal."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
# Seconds that a call has for ending after it was told to; one that cannot is given up.
GRACE = 3.0


class Caller:
    """Runs one call after the other in a thread of its own, which ends with this object."""

    def __init__(self) -> None:
        """The thread starts with the first call."""
        self._calls: SimpleQueue[Callable[[], None] | None] | None = None

    def __call__(self, call: Callable[[], T], stop: Callable[[], None]) -> T:
        """What the call returns or raises. An exception that comes meanwhile, from a signal, calls `stop` first."""
        answer: Future[T] = Future()
        self._queue().put(lambda: _answer(answer, call))
        try:
            return answer.result()
        except BaseException:
            if not answer.done():
                stop()
                wait([answer], GRACE)
            raise

    def _queue(self) -> SimpleQueue[Callable[[], None] | None]:
        if self._calls is None:
            self._calls = SimpleQueue()
            threading.Thread(target=_serve, args=(self._calls,), daemon=True).start()
            weakref.finalize(self, self._calls.put, None)
        return self._calls


def _serve(calls: SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := calls.get()) is not None:
        call()
        del call  # or the last feed and its results would stay until the next call


def _answer(answer: Future[T], call: Callable[[], T]) -> None:
    try:
        answer.set_result(call())
    except BaseException as error:
        answer.set_exception(error)
