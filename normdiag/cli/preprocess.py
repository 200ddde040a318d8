"""`normdiag preprocess`: options in, ranked preparations out."""

from __future__ import annotations

from pathlib import Path

import typer

from normdiag.cli import options as opt
from normdiag.cli.groups import ReadingOptions, Trying
from normdiag.cli.output import stdout_to_stderr
from normdiag.cli.progress import progress_bar
from normdiag.cli.reports import check_report_files, put_out, report_files
from normdiag.errors import UsageError


def preprocess(
    model: opt.Model,
    feeding: Trying,
    reading: ReadingOptions,
    device: opt.Device = "cpu",
    json: opt.Json = False,
    report_to: opt.Reports = None,
    all_rows: opt.All = False,
    color: opt.Color = None,
    quiet: opt.Quiet = False,
) -> None:
    """Parse, try, print."""
    if not model:
        raise UsageError("the path of the model is empty")
    files = report_files(report_to)
    check_report_files(files, [model, reading.arch, *feeding.specs])
    from normdiag.commands.preprocess import preprocess as rank  # here, so that --help does not wait for it

    with stdout_to_stderr(), progress_bar(quiet=quiet, unit="preparations") as progress:
        report = rank(
            Path(model),
            data=feeding.specs,
            data_options=feeding.options(batch_size=32),
            load_options=reading.options(),
            device=device,
            progress=progress,
        )
    put_out(report.document, report.to_json, files, json=json, all_layers=all_rows, color=color, quiet=quiet)
    raise typer.Exit(0)
