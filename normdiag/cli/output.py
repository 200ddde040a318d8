"""Where a report goes: a terminal, a pipe or a file; in colour or not; never half written."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

from normdiag.writing.atomic import replacing


def is_first() -> bool:
    """Whether this process is the one of several that speaks: the first that torchrun started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def print_out(text: str) -> None:
    """Text to stdout; a reader that has gone away, as `head` does, is no failure."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()


def print_text(text: str) -> None:
    """Text for people to stdout; in a GitHub job, without what its runner would take for a command."""
    print_out(_inert(text))


def say(text: str) -> None:
    """A line for people to stderr, whatever it holds and whatever stderr can show."""
    from normdiag.report.words import safe

    encoding = sys.stderr.encoding or "utf-8"
    line = _inert(safe(f"normdiag: {text}", limit=4000))
    try:
        print(line.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr, flush=True)
    except (OSError, ValueError):  # a full disk, a closed pipe: the exit code must still be the right one
        silence(sys.stderr)


def _inert(text: str) -> str:
    """The text as it is or, in a GitHub job, with `::` at the start of a line and `##[` anywhere taken apart.

    The runner follows such lines wherever they come from, and names in a model may hold them:
    https://docs.github.com/actions/reference/workflow-commands-for-github-actions.
    """
    if not os.environ.get("GITHUB_ACTIONS"):
        return text
    return re.sub(r"(?m)^([ \t]*:)(?=:)", r"\1 ", text).replace("##[", "## [")


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Inside, whatever the user's code prints, at whatever level, goes to stderr: stdout is for the report alone."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def open_streams() -> None:
    """Point stdout and stderr to nowhere where they are closed: else the next file that is opened takes their place."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_WRONLY)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))


def silence_stdout() -> None:
    """Point stdout to nowhere, so that the interpreter does not fail when it flushes a closed pipe at its end."""
    silence(sys.stdout)


def silence(stream: TextIO) -> None:
    """Point a stream to nowhere."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def write_file(target: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all: a temporary file beside the target, then a rename.

    A link is followed; a pipe or device is written to as it is; an existing file keeps its permissions.
    """
    with replacing(target) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
