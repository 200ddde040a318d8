"""`normdiag history`: the checkpoints of a training run in, how its layers' inputs move out."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from normdiag.cli import options as opt
from normdiag.cli.groups import Feeding, Reading
from normdiag.cli.output import print_out, print_text, stdout_to_stderr
from normdiag.cli.progress import progress_bar
from normdiag.cli.reports import check_report_files, of_document, report_files, write_reports
from normdiag.deadline import deadline
from normdiag.errors import UsageError
from normdiag.terminal import is_ascii_only, terminal_width, wants_color

Checkpoints = Annotated[
    list[str],
    typer.Argument(
        metavar="CKPT...",
        help="Checkpoints of one run, or folders of them: Lightning's, Hugging Face's, any with a step.",
    ),
]
Every = Annotated[
    int, typer.Option(metavar="N", min=1, help="Take one of so many, and the last.", rich_help_panel=opt.MEASURING)
]
Csv = Annotated[
    bool, typer.Option("--csv", help="Print a row for each layer of each checkpoint.", rich_help_panel=opt.OUTPUT)
]


def history(
    checkpoints: Checkpoints,
    feeding: Feeding,
    reading: Reading,
    every: Every = 1,
    device: opt.Device = "cpu",
    timeout: opt.Timeout = None,
    json: opt.FoldJson = False,
    csv: Csv = False,
    report_to: opt.Reports = None,
    all_layers: opt.All = False,
    color: opt.Color = None,
    quiet: opt.Quiet = False,
) -> None:
    """Parse, run, print."""
    if not all(checkpoints):
        raise UsageError("the path of a checkpoint is empty")
    if json and csv:
        raise UsageError("--json and --csv exclude each other")
    if not feeding.data:
        raise UsageError("history runs every checkpoint on the same data: give it with --data")
    files = report_files(report_to)
    check_report_files(files, [*checkpoints, reading.arch, *feeding.specs])
    from normdiag.commands.history import history as run  # here, so that --help does not wait for it

    with (
        deadline(timeout, checkpoints[0]),
        stdout_to_stderr(),
        progress_bar(quiet=quiet, unit="checkpoints") as progress,
    ):
        report = run(
            checkpoints,
            data=feeding.specs,
            data_options=feeding.options(batch_size=32),
            load_options=reading.options(),
            every=every,
            device=device,
            progress=progress,
        )
    from normdiag.render.history_formats import dump_history, history_csv
    from normdiag.report.history import history_document

    to_file = of_document(partial(history_document, report), partial(dump_history, report), all_layers=all_layers)
    write_reports(files, to_file, quiet=quiet)
    if json or csv:
        print_out(dump_history(report) if json else history_csv(report))
    else:
        from normdiag.render.text import render_text
        from normdiag.report.abridge import Detail

        document = history_document(report, Detail(all_layers))
        print_text(render_text(document, width=terminal_width(), color=wants_color(color), ascii_only=is_ascii_only()))
    raise typer.Exit(0)
