"""`normdiag preprocess`: options in, ranked preparations out."""

from __future__ import annotations

from pathlib import Path

import typer

from normdiag.cli import options as opt
from normdiag.cli.given import data_options, load_options
from normdiag.cli.output import is_ascii_only, print_out, print_text, stdout_to_stderr, terminal_width, wants_color
from normdiag.cli.progress import progress_bar
from normdiag.errors import UsageError


def preprocess(
    model: opt.Model,
    data: opt.Data = None,
    preprocess_: opt.InUse = None,
    batch_size: opt.BatchSize = 32,
    resize: opt.Resize = None,
    crop: opt.Crop = None,
    grayscale: opt.Grayscale = None,
    seed: opt.Seed = 0,
    arch: opt.Arch = None,
    arch_arg: opt.ArchArg = None,
    key: opt.Key = None,
    trust: opt.Trust = False,
    device: opt.Device = "cpu",
    json: opt.Json = False,
    all_rows: opt.All = False,
    color: opt.Color = None,
    quiet: opt.Quiet = False,
) -> None:
    """Parse, try, print."""
    if not model:
        raise UsageError("the path of the model is empty")
    reading = load_options(key, arch, arch_arg, trust)
    feeding = data_options(
        preprocess=preprocess_,
        batch_size=batch_size,
        max_samples=None,
        seed=seed,
        resize=resize,
        crop=crop,
        grayscale=grayscale,
        input_shape=None,
    )
    from normdiag.commands.preprocess import preprocess as rank  # here, so that --help does not wait for it

    with stdout_to_stderr(), progress_bar(quiet=quiet, unit="preparations") as progress:
        report = rank(
            Path(model),
            data=tuple(data or ()),
            data_options=feeding,
            load_options=reading,
            device=device,
            progress=progress,
        )
    if json:
        from normdiag.render.preprocess_json import dump_preprocess

        print_out(dump_preprocess(report))
    else:
        from normdiag.render.text import render_text
        from normdiag.report.abridge import Detail
        from normdiag.report.preprocess import preprocess_document

        document = preprocess_document(report, Detail(all_rows))
        print_text(render_text(document, width=terminal_width(), color=wants_color(color), ascii_only=is_ascii_only()))
    raise typer.Exit(0)
