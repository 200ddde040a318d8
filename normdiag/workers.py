"""Calls in processes of their own: none takes another down with it, and Ctrl-C ends them with what they have."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from subprocess import Popen
from typing import Any, Generic, TypeVar

T = TypeVar("T")
# Seconds that interrupted calls have for coming back with what they have seen, before their processes are ended.
GRACE = 5.0
# What a new process runs. multiprocessing would look for modules in the current folder first, as `python -c` does, and
# that folder may be anybody's.
CHILD = "import sys; sys.path[:] = {path!r}; from normdiag.workers import serve; serve({handle})"


@dataclass(frozen=True)
class Died:
    """A process that ended in the middle of a call: its exit code, negative for the signal that killed it."""

    code: int | None

    def __str__(self) -> str:
        """'was killed by SIGSEGV', 'ended with exit code 3'."""
        if self.code is None or self.code >= 0:
            return f"ended with exit code {self.code}"
        known = {each.value: each.name for each in signal.Signals}
        hint = " (out of memory? fewer at a time need less)" if known.get(-self.code) == "SIGKILL" else ""
        return f"was killed by {known.get(-self.code, f'signal {-self.code}')}{hint}"


def each(call: Callable[[str], T], items: Sequence[str], processes: int) -> Iterator[tuple[str, T | Died]]:
    """Each item, in their order, with what the call makes of it, from at most so many processes at the same time.

    After Ctrl-C the calls under way get it too; what has been done until then is yielded before KeyboardInterrupt is
    raised. Whatever a call raises is raised here.
    """
    pool = _Pool(call, items)
    try:
        yield from pool.run(processes)
    finally:
        pool.end()


class _Pool(Generic[T]):
    """The processes of one run, each with the index of the item that it works on."""

    def __init__(self, call: Callable[[str], T], items: Sequence[str]) -> None:
        self.call, self.items = call, items
        self.left = iter(range(len(items)))
        self.busy: dict[Connection, tuple[Popen[bytes], int]] = {}
        self.idle: list[tuple[Connection, Popen[bytes]]] = []
        self.done: dict[int, T | Died] = {}

    def run(self, processes: int) -> Iterator[tuple[str, T | Died]]:
        """See `each`."""
        try:
            for _ in range(min(processes, len(self.items))):
                self._next()
            for index in range(len(self.items)):
                while index not in self.done:
                    self._collect(None)
                yield self.items[index], self.done.pop(index)
        except KeyboardInterrupt:
            self._interrupt()
            yield from ((self.items[index], self.done[index]) for index in sorted(self.done))
            raise

    def _next(self) -> None:
        """Give the next item to an idle process or a new one."""
        index = next(self.left, None)
        if index is None:
            return
        pipe, process = self.idle.pop() if self.idle else self._start()
        self.busy[pipe] = process, index
        with suppress(OSError):  # it is dead already, as reading from it will tell
            pipe.send(self.items[index])

    def _start(self) -> tuple[Connection, Popen[bytes]]:
        """A fresh process: a fork would inherit the threads and locks of whatever has been imported here."""
        here, there = Pipe()
        code = CHILD.format(path=[each for each in sys.path if each], handle=there.fileno())
        with _uninterruptible():  # inherited, until the process can deal with it
            process = Popen([sys.executable, "-c", code], **_handing_over(there.fileno()))
        there.close()
        with suppress(OSError):  # it is dead already, as reading from it will tell
            here.send(self.call)
        return here, process

    def _collect(self, seconds: float | None) -> None:
        """Wait until a call has ended and take what it returned; more work to its process, or to a new one."""
        for pipe in wait(list(self.busy), seconds):
            assert isinstance(pipe, Connection)
            process, index = self.busy.pop(pipe)
            try:
                returned, outcome = pipe.recv()
            except (EOFError, OSError):
                returned, outcome = True, Died(process.wait())
                pipe.close()
            else:
                self.idle.append((pipe, process))
            if not returned:
                raise outcome
            self.done[index] = outcome
            self._next()

    def _interrupt(self) -> None:
        """Pass Ctrl-C on to the calls under way, and take what they come back with in time."""
        self.left = iter(())
        if os.name == "posix":  # elsewhere that would kill them, and a console sends it to all by itself
            for process, _ in self.busy.values():
                with suppress(OSError):
                    os.kill(process.pid, signal.SIGINT)
        end = time.monotonic() + GRACE
        while self.busy and time.monotonic() < end:
            with suppress(KeyboardInterrupt):  # the answer of a call that had nothing to show
                self._collect(max(end - time.monotonic(), 0))

    def end(self) -> None:
        """End all processes: idle ones by themselves, the others at once."""
        for pipe, (process, _) in self.busy.items():
            process.kill()
            self.idle.append((pipe, process))
        for pipe, _ in self.idle:
            pipe.close()
        for _, process in self.idle:
            process.wait()


@contextmanager
def _uninterruptible() -> Iterator[None]:
    """Inside, Ctrl-C is ignored, which processes that are started inherit."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread, which alone may say so
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _handing_over(handle: int) -> dict[str, Any]:
    """The arguments of Popen with which the new process gets an open handle."""
    if sys.platform == "win32":
        os.set_handle_inheritable(handle, True)
        return {"close_fds": False}
    return {"pass_fds": (handle,)}


def _pipe(handle: int) -> Connection:
    if sys.platform == "win32":
        from multiprocessing.connection import PipeConnection

        return PipeConnection(handle)
    return Connection(handle)


def serve(handle: int) -> None:
    """In the process: take the call and answer until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = _pipe(handle)
    with suppress(EOFError, OSError):
        call: Callable[[str], Any] = pipe.recv()
        while True:
            item = pipe.recv()
            signal.signal(signal.SIGINT, _interrupt_once)
            try:
                answer = True, call(item)
            except BaseException as error:
                if not isinstance(error, KeyboardInterrupt):
                    traceback.print_exc()
                answer = False, error
            finally:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            pipe.send(answer)


def _interrupt_once(*_: object) -> None:
    """A terminal sends Ctrl-C to every process, and the one that started this passes it on too: once is enough."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
