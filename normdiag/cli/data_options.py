"""The options that say what is fed to a model, and how it is prepared."""

from __future__ import annotations

from typing import Annotated

import typer

from normdiag.cli.options import DATA

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
