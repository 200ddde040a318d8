"""The commands as typer has them: the one that is asked for, or all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated

import typer

from normdiag.cli.groups import flat

# Of each command, which is the function of its name in the file of its name: what it does, and an example.
COMMANDS = {
    "inspect": (
        "Measure what every normalization layer of a model is doing.",
        "normdiag inspect net.onnx --data val.npz --preprocess imagenet",
    ),
    "fold": (
        "Fold BatchNorm into the neighbouring linear layers, and verify that nothing else changed.",
        "normdiag fold net.onnx -o folded.onnx",
    ),
    "recalibrate": (
        "Measure the running statistics of BatchNorm anew and write them back, if that makes the model better.",
        "normdiag recalibrate net.onnx --data train/ -o fixed.onnx",
    ),
    "check": (
        "Check exported models against the rules: exit code 0, 1 or 2 for your CI.",
        "normdiag check models/ --report sarif=normdiag.sarif",
    ),
    "preprocess": (
        "Which preparation of the input do the model's statistics belong to?",
        "normdiag preprocess net.onnx --data images/",
    ),
    "profile": (
        "Keep what a model shows on data, as a reference to compare with later; or merge such profiles.",
        "normdiag profile net.onnx --data train/ -o train.profile",
    ),
    "diff": (
        "What differs between two models, layer by layer: exit code 0 for nothing, 1 for something.",
        "normdiag diff net.pt net.onnx --data val/",
    ),
    "history": (
        "How the inputs of every layer move over the checkpoints of a training run.",
        "normdiag history checkpoints/ --arch net.py:Net --data val/",
    ),
    "rule": (
        "What a rule says, why it matters and how to fix it.",
        "normdiag rule ND301",
    ),
}


def program(arguments: Sequence[str] = ()) -> typer.Typer:
    """The command that these arguments begin with; all of them where they begin with none.

    To import the others and to list their options takes a tenth of what inspecting a small file takes.
    """
    app = typer.Typer(
        name="normdiag",
        help="What the normalization layers of a trained model are really doing.",
        epilog="normdiag COMMAND --help shows the options of a command.",
        rich_markup_mode="rich",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_program)
    for name, (text, example) in _asked_for(arguments):
        command = getattr(import_module(f"normdiag.cli.{name}"), name)
        app.command(name=name, help=text, epilog=f"Example:  {example}")(flat(command))
    return app


def _asked_for(arguments: Sequence[str]) -> Iterable[tuple[str, tuple[str, str]]]:
    return [each for each in COMMANDS.items() if each[0] in arguments[:1]] or COMMANDS.items()


def _print_version(wanted: bool) -> None:
    if wanted:
        from normdiag import __version__

        typer.echo(f"normdiag {__version__}")
        raise typer.Exit


def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What the normalization layers of a trained model are really doing."""
