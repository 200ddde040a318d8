"""One command in a process of its own with limits on time and memory, forked from one that has imported everything."""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

# Of processor time, which other work on the machine does not change much; of any time, where something waits forever.
SECONDS = 5.0
PATIENCE = 300.0
MEGABYTES = 500
# Of address space: beyond it an allocation fails, which must end in one line as well.
ADDRESS_SPACE = 8 << 30


@dataclass(frozen=True)
class Outcome:
    """How a command ended: exit code (negative: the signal), processor time, memory at most, and what it printed."""

    code: int
    seconds: float
    megabytes: int
    out: str
    err: str

    def failure(self, *, one_line: bool) -> str | None:
        """What is wrong with it, None for what is allowed: a report, or exit code 2 and, if wanted, one line."""
        if self.seconds > SECONDS:
            return "slow"
        if self.code < 0:
            return "crash"
        if any(word in self.out + self.err for word in ("Traceback", "internal error")):
            return "traceback"
        if self.code not in (0, 1, 2):
            return "exit code"
        if self.megabytes > MEGABYTES:
            return "memory"
        return "lines" if one_line and self.code == 2 and self.err.count("\n") != 1 else None


def run_limited(arguments: list[str], folder: Path) -> Outcome:
    """Run the command line in a fork. What it prints goes to files; it is killed when its time is up."""
    files = folder / "stdout", folder / "stderr"
    pid = os.fork()
    if pid == 0:
        _child(arguments, folder, files)
    waiting = os.pidfd_open(pid)
    try:
        if not select.select([waiting], [], [], PATIENCE)[0]:
            os.kill(pid, signal.SIGKILL)
        _, status, used = os.wait4(pid, 0)
    finally:
        os.close(waiting)
    out, err = (path.read_text(encoding="utf-8", errors="replace") for path in files)
    seconds = used.ru_utime + used.ru_stime
    return Outcome(os.waitstatus_to_exitcode(status), seconds, used.ru_maxrss // 1024, out, err)


def _child(arguments: list[str], folder: Path, files: tuple[Path, Path]) -> None:
    code = 70
    try:
        os.chdir(folder)
        for number, path in enumerate(files, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
        resource.setrlimit(resource.RLIMIT_CPU, (int(SECONDS) + 2, int(SECONDS) + 2))
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        from normdiag.cli.app import run

        code = run(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
