"""A limit on the time that a command may take, whatever it is doing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from normdiag.errors import DeadlineReached, UsageError

# Seconds until it is raised again: it may come where exceptions are dropped, as in a finalizer.
AGAIN = 1.0


@contextmanager
def deadline(seconds: float | None, what: str) -> Iterator[None]:
    """Raise DeadlineReached inside after so many seconds, None for never; `what` begins the message.

    Raises UsageError for a time that is none, and where the system or the thread gets no such signals.
    """
    if seconds is None:
        yield
        return
    if not seconds > 0:
        raise UsageError(f"--timeout must be more than 0 seconds, not {seconds:g}")
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        raise UsageError("--timeout needs a system with POSIX signals, and the main thread")

    def give_up(*_: object) -> None:
        raise DeadlineReached(f"{what}: not done after {seconds:g} seconds (--timeout)")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
