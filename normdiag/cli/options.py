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


class Streaming(str, Enum):
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

Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="[NAME=]DATA",
        help="A .npy, .npz, .csv, .safetensors or tensor file; images or recordings, as a file, folder or glob; "
        "file.py:callable that yields batches; or random. Once for each input of the model.",
        rich_help_panel=DATA,
    ),
]
TrainData = Annotated[
    list[str] | None,
    typer.Option(
        "--train-data",
        metavar="[NAME=]DATA",
        help="Some of what the model was trained on, run as well: drift there too is the fault of the statistics, "
        "none there that of the data. Once for each input of the model.",
        rich_help_panel=DATA,
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="FILE",
        help="What `normdiag profile` kept of this model, or of the same in another format: drift at every point is "
        "measured against it. Of a folded ONNX export also its checkpoint.",
        rich_help_panel=DATA,
    ),
]
InOrder = Annotated[
    bool | None,
    typer.Option(
        "--in-order",
        help="Read the samples as they lie, not in a random order of --seed; for inputs that follow on each other.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
RECIPES = (
    "imagenet, cifar, mnist, clip, caffe, unit (0 to 1), signed (-1 to 1), raw, per-image, or some of scale=1/255, "
    "mean=0.5:0.5:0.5, std=0.2, order=bgr, layout=nhwc, joined by commas"
)
Preprocess = Annotated[
    str | None,
    typer.Option(
        metavar="RECIPE",
        help=f"{RECIPES}; inspect and check: or auto, the one that fits the model's statistics best. Default: integers "
        "to 0..1, floats as they are.",
        rich_help_panel=DATA,
    ),
]
InUse = Annotated[
    str | None,
    typer.Option(
        "--preprocess",
        metavar="RECIPE",
        help="The preparation in use: it is kept where no other is surely better.",
        rich_help_panel=DATA,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Samples that run together; default 32 (fold: 8, recalibrate: 64).",
        rich_help_panel=DATA,
    ),
]
MaxSamples = Annotated[int | None, typer.Option(metavar="N", help="Stop after this many.", rich_help_panel=DATA)]
Resize = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Images: the shorter side, or HEIGHTxWIDTH.", rich_help_panel=DATA),
]
Crop = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Images: cut the centre, a square or HEIGHTxWIDTH.", rich_help_panel=DATA),
]
Grayscale = Annotated[
    bool | None,
    typer.Option("--grayscale/--rgb", help="Images: one channel or three.", show_default=False, rich_help_panel=DATA),
]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]SHAPE",
        help="The shape of one sample for random data, as 3,224,224 or ids=128:int64. Once for each input. Default: "
        "what the model says, or the first usual size on which it runs.",
        rich_help_panel=DATA,
    ),
]
InputAxis = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=AXIS",
        help="ONNX: an input that has its samples on another axis than the first, 0.",
        rich_help_panel=DATA,
    ),
]
Constant = Annotated[
    list[str] | None,
    typer.Option(
        "--const",
        metavar="NAME=VALUE",
        help="ONNX: an input that is the same for every sample, as sr=16000.",
        rich_help_panel=DATA,
    ),
]
State = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OUTPUT=NAME",
        help="ONNX: an input that is an output of the sample before. Default: as names and shapes tell; zeros where no "
        "output fits.",
        rich_help_panel=DATA,
    ),
]
ServeBatch = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Samples that are served together: what batch statistics would cost there (ND304).",
        rich_help_panel=DATA,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=0, help="Of random data and of the order of samples; default 0.", rich_help_panel=DATA
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
    Streaming,
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
