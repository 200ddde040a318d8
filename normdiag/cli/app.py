"""The program: its commands, and how every failure becomes one line on stderr and an exit code.

Exit codes: 0 nothing wrong; 1 findings of severity error; 2 wrong usage, bad input or a failure of normdiag itself;
130 interrupted. Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from traceback import walk_tb
from typing import Annotated, NoReturn

import typer

from normdiag.cli.check import check
from normdiag.cli.diff import diff
from normdiag.cli.fold import fold
from normdiag.cli.groups import flat
from normdiag.cli.history import history
from normdiag.cli.inspect import inspect
from normdiag.cli.output import open_streams, say, silence_stdout
from normdiag.cli.preprocess import preprocess
from normdiag.cli.profile import profile
from normdiag.cli.recalibrate import recalibrate
from normdiag.cli.rule import rule
from normdiag.cli.status import INTERRUPTED, UNUSABLE
from normdiag.errors import debugging, one_line

BROKEN_PIPE = 141
app = typer.Typer(
    name="normdiag",
    help="What the normalization layers of a trained model are really doing.",
    epilog="normdiag COMMAND --help shows the options of a command.",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from normdiag import __version__

        typer.echo(f"normdiag {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What the normalization layers of a trained model are really doing."""


app.command(
    name="inspect",
    help="Measure what every normalization layer of a model is doing.",
    epilog="Example:  normdiag inspect net.onnx --data val.npz --preprocess imagenet",
)(flat(inspect))
app.command(
    name="fold",
    help="Fold BatchNorm into the neighbouring linear layers, and verify that nothing else changed.",
    epilog="Example:  normdiag fold net.onnx -o folded.onnx",
)(flat(fold))
app.command(
    name="recalibrate",
    help="Measure the running statistics of BatchNorm anew and write them back, if that makes the model better.",
    epilog="Example:  normdiag recalibrate net.onnx --data train/ -o fixed.onnx",
)(flat(recalibrate))
app.command(
    name="check",
    help="Check exported models against the rules: exit code 0, 1 or 2 for your CI.",
    epilog="Example:  normdiag check models/ --report sarif=normdiag.sarif",
)(flat(check))
app.command(
    name="preprocess",
    help="Which preparation of the input do the model's statistics belong to?",
    epilog="Example:  normdiag preprocess net.onnx --data images/",
)(flat(preprocess))
app.command(
    name="profile",
    help="Keep what a model shows on data, as a reference to compare with later; or merge such profiles.",
    epilog="Example:  normdiag profile net.onnx --data train/ -o train.profile",
)(flat(profile))
app.command(
    name="diff",
    help="What differs between two models, layer by layer: exit code 0 for nothing, 1 for something.",
    epilog="Example:  normdiag diff net.pt net.onnx --data val/",
)(flat(diff))
app.command(
    name="history",
    help="How the inputs of every layer move over the checkpoints of a training run.",
    epilog="Example:  normdiag history checkpoints/ --arch net.py:Net --data val/",
)(flat(history))
app.command(
    name="rule",
    help="What a rule says, why it matters and how to fix it.",
    epilog="Example:  normdiag rule ND301",
)(rule)


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
        code = typer.main.get_command(app).main(
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
