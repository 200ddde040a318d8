"""The options that `recalibrate` alone has."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

RECALIBRATING = "Recalibrating"
JUDGING = "Judging the result"


class MethodName(str, Enum):
    """How the layers before one are run while it is measured."""

    precise = "precise"
    sequential = "sequential"


Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="The recalibrated model, the same kind of file as MODEL with every other byte as it was.",
        rich_help_panel=RECALIBRATING,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing FILE.", rich_help_panel=RECALIBRATING)]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Measure and judge, and write nothing.", rich_help_panel=RECALIBRATING)
]
Method = Annotated[
    MethodName,
    typer.Option(
        help="precise: with the statistics of each batch in the layers before; sequential: with the repaired ones, in "
        "several passes over the data.",
        rich_help_panel=RECALIBRATING,
    ),
]
Keep = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", help="Keep this share of the stored statistics, as 0.9.", rich_help_panel=RECALIBRATING
    ),
]
PseudoCount = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        help="Let the stored statistics count as much as N samples, for few samples or a new domain.",
        rich_help_panel=RECALIBRATING,
    ),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB", help="Only layers of these names, as 'layer4.*'. Repeatable.", rich_help_panel=RECALIBRATING
    ),
]
OnlyDrifting = Annotated[
    bool,
    typer.Option(
        "--only-drifting",
        help="Only layers whose statistics the data contradicts.",
        rich_help_panel=RECALIBRATING,
    ),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        metavar="ERROR",
        help="Stop measuring once every layer is known to this many standard deviations, as 0.02.",
        rich_help_panel=RECALIBRATING,
    ),
]
Holdout = Annotated[
    float, typer.Option(metavar="SHARE", help="Keep this share of the samples to judge.", rich_help_panel=JUDGING)
]
EvalData = Annotated[
    list[str] | None,
    typer.Option(
        "--eval-data",
        metavar="[NAME=]DATA",
        help="Judge on this data instead; labels beside it (y in an .npz, a folder for each class) give the accuracy.",
        rich_help_panel=JUDGING,
    ),
]
AcceptWorse = Annotated[
    bool,
    typer.Option("--accept-worse", help="Write the result even if it is worse.", rich_help_panel=JUDGING),
]
