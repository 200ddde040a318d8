"""`normdiag diff`: two models in, what differs between them out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from normdiag.cli import options as opt
from normdiag.cli.groups import FeedingOptions, ReadingOptions
from normdiag.cli.output import stdout_to_stderr
from normdiag.cli.progress import progress_bar
from normdiag.cli.reports import check_report_files, put_out, report_files
from normdiag.cli.status import CLEAN, FOUND
from normdiag.deadline import deadline
from normdiag.errors import UsageError

ModelA = Annotated[str, typer.Argument(metavar="A", help="A model of any format, as for inspect.")]
ModelB = Annotated[str, typer.Argument(metavar="B", help="The other one, of the same format or another.")]
KeyB = Annotated[
    str | None,
    typer.Option(help="Which tensor dict of B to take, where it is another.", rich_help_panel=opt.READING),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="A relative difference that is accepted. Default: what rounding explains.",
        rich_help_panel=opt.MEASURING,
    ),
]


def diff(
    a: ModelA,
    b: ModelB,
    feeding: FeedingOptions,
    reading: ReadingOptions,
    tolerance: Tolerance = None,
    key_b: KeyB = None,
    timeout: opt.Timeout = None,
    json: opt.Json = False,
    report_to: opt.Reports = None,
    all_layers: opt.All = False,
    color: opt.Color = None,
    quiet: opt.Quiet = False,
) -> None:
    """Parse, compare, print."""
    if not a or not b:
        raise UsageError("the path of a model is empty")
    if not feeding.data:
        feeding.refuse_without_data({})
    options = reading.options()
    files = report_files(report_to)
    check_report_files(files, [a, b, reading.arch, *feeding.specs])
    from normdiag.commands.diff import BATCH  # here, so that --help does not wait for it
    from normdiag.commands.diff import diff as compare

    with deadline(timeout, a), stdout_to_stderr(), progress_bar(quiet=quiet) as progress:
        report = compare(
            Path(a),
            Path(b),
            data=feeding.specs,
            data_options=feeding.options(batch_size=BATCH),
            load_options=options,
            load_options_b=options if key_b is None else replace(options, key=key_b),
            tolerance=tolerance,
            progress=progress,
        )
    put_out(report.document, report.to_json, files, json=json, all_layers=all_layers, color=color, quiet=quiet)
    raise typer.Exit(CLEAN if report.equal else FOUND)
