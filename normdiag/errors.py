"""What can go wrong for a reason that the user can act on, and how any failure is said in one line."""

from __future__ import annotations

import os

REPORT_HERE = "please report it, with the output of the same command under NORMDIAG_DEBUG=1"
EXHAUSTED: tuple[tuple[type[BaseException], str], ...] = (
    (MemoryError, "out of memory; a smaller --batch-size needs less"),
    (RecursionError, "the model or the data is nested too deeply to be read"),
)


class NormdiagError(Exception):
    """A failure with one clear line: what is wrong, where, and what to do next. The CLI exits 2 with it."""


class InputError(NormdiagError):
    """A file, its content or the data cannot be used as given."""


class UsageError(NormdiagError):
    """The options contradict each other or ask for something that does not exist."""


class DeadlineReached(BaseException):
    """The time is up. Like KeyboardInterrupt no Exception: what turns failures of a model into a line lets it pass."""


def one_line(error: BaseException) -> str:
    """What went wrong, for a user: our own errors as they are, and everything else by its kind."""
    if isinstance(error, NormdiagError | DeadlineReached):
        return str(error)
    for kind, message in EXHAUSTED:
        if isinstance(error, kind):
            return message
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    return f"internal error: {type(error).__name__}: {error}; {REPORT_HERE}"


def debugging() -> bool:
    """Whether NORMDIAG_DEBUG asks for tracebacks instead of one line."""
    return os.environ.get("NORMDIAG_DEBUG", "") not in ("", "0")
