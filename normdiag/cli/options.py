"""The options of the commands: names, help and panels."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

DATA = "Data"
READING = "Reading a PyTorch file"
MEASURING = "Measuring"
OUTPUT = "Output"
FOLDING = "Folding"
RULES = "Rules and gate"
CONFIGURATION = "Configuration"


class Format(str, Enum):
    """How a report is written."""

    text = "text"
    json = "json"


class StreamChoice(str, Enum):
    """Whether weights stay in their files while a model runs."""

    auto = "auto"
    always = "always"
    never = "never"


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A PyTorch, safetensors, GGUF or ONNX file, detected from content, or a Hugging Face folder.",
    ),
]

Arch = Annotated[
    str | None,
    typer.Option(
        metavar="CODE:FACTORY",
        help="Your own code that builds the module for the weights, as net.py:Net or package.module:Net; none: no "
        "architecture of torchvision or timm is looked for.",
        rich_help_panel=READING,
    ),
]
ArchArg = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="An argument of the factory, as num_classes=10.", rich_help_panel=READING),
]
Key = Annotated[
    str | None,
    typer.Option(help="Which tensor dict of a checkpoint to take, as model_ema.", rich_help_panel=READING),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Let torch load the file. This RUNS CODE from the file: only for files from people you trust, and only "
        "where it does not run without.",
        rich_help_panel=READING,
    ),
]

Provider = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="ONNX: the execution provider of onnxruntime, as cuda or coreml. Default: cpu.",
        rich_help_panel=MEASURING,
    ),
]

Force = Annotated[bool, typer.Option("--force", help="Replace an existing FILE.", rich_help_panel=FOLDING)]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Show what would be folded and why the rest is not folded.", rich_help_panel=FOLDING
    ),
]
RequireData = Annotated[
    bool | None,
    typer.Option(
        "--require-data/--no-require-data",
        help="Exit 1 where nothing was judged on data (verdict not_measured).",
        show_default=False,
        rich_help_panel=RULES,
    ),
]

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The configuration, instead of the nearest normdiag.toml or pyproject.toml upwards.",
        rich_help_panel=CONFIGURATION,
    ),
]
NoConfig = Annotated[
    bool,
    typer.Option(
        "--no-config", help="Read no configuration: every rule, at its defaults.", rich_help_panel=CONFIGURATION
    ),
]

AllowConfigCode = Annotated[
    bool,
    typer.Option(
        "--allow-config-code",
        help="Let the configuration name code as data (file.py:callable), which is then RUN.",
        rich_help_panel=CONFIGURATION,
    ),
]

Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS", help="Give up on a model after this time: exit 2.", min=0, rich_help_panel=MEASURING
    ),
]
Device = Annotated[str, typer.Option(help="Where to run, as cpu or cuda.", rich_help_panel=MEASURING)]
Stream = Annotated[
    StreamChoice,
    typer.Option(
        help="Read weights from safetensors files block by block while the model runs, by accelerate: auto where they "
        "do not fit into the memory that is free.",
        rich_help_panel=MEASURING,
    ),
]
Attribute = Annotated[
    bool,
    typer.Option("--attribute", help="Rank the layers by how much of the gap each causes.", rich_help_panel=MEASURING),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--saturation-threshold",
        metavar="SHARE",
        help="An activation is saturated below this share of its steepest slope; default 0.0707: sigmoid |x| > 4.",
        rich_help_panel=MEASURING,
    ),
]

ReportFormat = Annotated[Format | None, typer.Option("--format", help="Default: text.", rich_help_panel=OUTPUT)]
Json = Annotated[bool, typer.Option("--json", help="The same as --format json.", rich_help_panel=OUTPUT)]
FoldJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON.", rich_help_panel=OUTPUT)]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write the report to a file.", rich_help_panel=OUTPUT),
]
Reports = Annotated[
    list[str] | None,
    typer.Option(
        "--report",
        metavar="FORMAT=FILE",
        help="Write a file as well, as html=out.html; may be given several times.",
        rich_help_panel=OUTPUT,
    ),
]
All = Annotated[bool, typer.Option("--all", help="Show every layer of a long model.", rich_help_panel=OUTPUT)]
Channels = Annotated[
    str | None,
    typer.Option(metavar="LAYER", help="Show the worst channels of this layer as well.", rich_help_panel=OUTPUT),
]
Color = Annotated[
    bool | None,
    typer.Option(
        "--color/--no-color",
        help="Default: on a terminal, unless NO_COLOR is set.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.", rich_help_panel=OUTPUT)]
