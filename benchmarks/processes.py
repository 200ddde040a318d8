"""Whole processes as users start them: what a command costs beside the plainest way to do the least."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

NORMDIAG = (sys.executable, "-m", "normdiag")


@dataclass(frozen=True)
class Pair:
    """A command of ours, the plain one that it is measured against, and the time ratio that is aimed at."""

    name: str
    ours: Sequence[str]
    plain: Sequence[str]
    target: float | None = None


@dataclass(frozen=True)
class Cost:
    """Seconds, processor seconds and peak resident MiB of one process."""

    seconds: float
    processor: float
    memory: float


def apart(work: Callable[..., object], *arguments: Any) -> None:
    """Call it in a fresh process and wait: a child's peak memory begins at its parent's, so that must stay small."""
    process = get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"failed: {work.__name__}")


def python(code: str, *arguments: str | Path) -> list[str]:
    """The command that runs this code."""
    return [sys.executable, "-c", code, *map(str, arguments)]


def cost(command: Sequence[str], accepted: Sequence[int] = (0,)) -> Cost:
    """Of one fresh process. Ends the program for an exit code that is not `accepted`."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=_environment())
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) not in accepted:
        raise SystemExit(f"failed: {' '.join(command)}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def row(pair: Pair, rounds: int) -> str:
    """One line of the table, of medians. The first round only warms the caches; findings are no failure."""
    runs = [(cost(pair.ours, (0, 1)), cost(pair.plain)) for _ in range(rounds + 1)][1:]
    seconds, plain_seconds = (median(run[side].seconds for run in runs) for side in (0, 1))
    memory, plain_memory = (median(run[side].memory for run in runs) for side in (0, 1))
    ratio = median(a.seconds / b.seconds for a, b in runs)
    processor = median(a.processor / b.processor for a, b in runs)
    return (
        f"| {pair.name} | {seconds:.2f} s | {plain_seconds:.2f} s | **{ratio:.2f}** | {processor:.2f} "
        f"| {pair.target or '-'} | {memory:.0f} MiB | {plain_memory:.0f} MiB | {memory / plain_memory:.2f} |"
    )


def compare(description: str | None, prepare: Callable[[Path], Iterable[Pair]]) -> None:
    """The program: `prepare` writes the models into a folder and names the pairs, each of which becomes a line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| command | normdiag | plain | time ratio | processor | target | memory | plain | memory ratio |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for pair in prepare(Path(folder)):
            print(row(pair, rounds), flush=True)


def _environment() -> dict[str, str]:
    """With compiled bytecode, as an installed package has it; here it lies in the folder for temporary files."""
    given = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    prefix = Path(tempfile.gettempdir()) / "normdiag-bytecode"
    return {**given, "ORT_DISABLE_TELEMETRY": "1", "PYTHONPYCACHEPREFIX": str(prefix)}
