"""What `fold` takes beside the options of reading and data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from normdiag.cli.options import FOLDING

EXPORTING = "From PyTorch to ONNX"

FoldOutput = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="The folded model: .onnx, .pt2 (torch.export), or weights as .safetensors or .pt; of a Hugging Face "
        "checkpoint also a new folder, for one of the same architecture.",
        rich_help_panel=FOLDING,
    ),
]
Norms = Annotated[
    str,
    typer.Option(
        metavar="KINDS",
        help="batch, or batch,layer: gamma and beta of LayerNorm and RMSNorm go into the Linear layers after them.",
        rich_help_panel=FOLDING,
    ),
]
NoVerify = Annotated[
    bool,
    typer.Option(
        "--no-verify", help="Write without running either model: nothing is verified.", rich_help_panel=FOLDING
    ),
]
SetEval = Annotated[
    bool,
    typer.Option(
        "--set-eval",
        help="Put an ONNX model that was exported in training mode into evaluation mode first.",
        rich_help_panel=FOLDING,
    ),
]
Opset = Annotated[
    int | None, typer.Option(metavar="N", min=18, help="Operator set of the .onnx.", rich_help_panel=EXPORTING)
]
InputName = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Name an input, once for each in order.", rich_help_panel=EXPORTING),
]
OutputName = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Name an output, once for each in order.", rich_help_panel=EXPORTING),
]
StaticBatch = Annotated[
    bool,
    typer.Option("--static-batch", help="Fix the batch size instead of leaving it free.", rich_help_panel=EXPORTING),
]
