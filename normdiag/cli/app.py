"""The program: its commands, and how every failure becomes one line on stderr and an exit code.

Exit codes: 0 nothing wrong; 1 findings of severity error; 2 wrong usage, bad input or a failure of normdiag itself;
130 interrupted. Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from traceback import walk_tb
from typing import NoReturn

import typer

from normdiag.cli.output import open_streams, say, silence_stdout
from normdiag.cli.program import program
from normdiag.cli.status import INTERRUPTED, UNUSABLE
from normdiag.errors import debugging, one_line

BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; `arguments` defaults to those of the process.

    What is imported stays to the end. Looking through it for garbage, again and again and once more at the end, took
    a fifth of what inspecting a small file takes. A program that hands over arguments goes on afterwards, and keeps its
    collector as it is.
    """
    if arguments is not None:
        sys.exit(run(arguments))
    gc.set_threshold(50_000)
    code = run()
    gc.freeze()
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. No exception comes out."""
    open_streams()
    try:
        code = typer.main.get_command(program(sys.argv[1:] if arguments is None else arguments)).main(
            None if arguments is None else list(arguments), prog_name="normdiag", standalone_mode=False
        )
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
            silence_stdout()  # SystemExit is how typer reacts to a closed pipe
            return BROKEN_PIPE
        if _ended_by_typer(error):
            return int(error.code or 0)
        return _fail(f"code that was loaded ended the program (exit {error.code})", UNUSABLE)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BaseException as error:
        if debugging():
            raise
        return _fail(explain(error), UNUSABLE)
    return code if isinstance(code, int) else 0


def _ended_by_typer(error: SystemExit) -> bool:
    """Whether it is typer's way to end after shell completion, and not an exit() in code of the user."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].partition(".")[0] in ("typer", "click")


def explain(error: BaseException) -> str:
    """One line for the user on what went wrong; empty where it has been said."""
    if hasattr(error, "format_message"):  # typer's usage errors; without a message it has already shown the help
        command = getattr(getattr(error, "ctx", None), "command_path", "normdiag")
        message = error.format_message().rstrip(".")
        return f"{message} ({command} --help shows what there is)" if message else ""
    return one_line(error)


def _fail(message: str, code: int) -> int:
    """Say it on stderr, and return the exit code."""
    if message:
        say(message)
    return code
