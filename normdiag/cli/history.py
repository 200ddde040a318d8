"""`normdiag history`: the checkpoints of a training run in, how its layers' inputs move out; or a line between two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from normdiag.cli import options as opt
from normdiag.cli.groups import FeedingOptions, ReadingOptions
from normdiag.cli.output import print_out, stdout_to_stderr
from normdiag.cli.progress import progress_bar
from normdiag.cli.reports import check_report_files, of_document, put_out, report_files, write_reports
from normdiag.deadline import deadline
from normdiag.errors import UsageError

if TYPE_CHECKING:
    from normdiag.results.followed import HistoryResult, PathResult

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
    bool,
    typer.Option(
        "--csv",
        help="Print a row for each layer of each checkpoint, or each point of --path.",
        rich_help_panel=opt.OUTPUT,
    ),
]
Path = Annotated[
    bool,
    typer.Option(
        "--path",
        help="Of two PyTorch checkpoints: loss and accuracy along the straight line between their weights.",
        rich_help_panel=opt.MEASURING,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(metavar="N", min=2, help="Points of --path, with both ends (11).", rich_help_panel=opt.MEASURING),
]


def history(
    checkpoints: Checkpoints,
    feeding: FeedingOptions,
    reading: ReadingOptions,
    every: Every = 1,
    path: Path = False,
    steps: Steps = None,
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
    _check(checkpoints, feeding, every, path, steps)
    if json and csv:
        raise UsageError("--json and --csv exclude each other")
    files = report_files(report_to)
    check_report_files(files, [*checkpoints, reading.arch, *feeding.specs])
    unit = "points" if path else "checkpoints"
    with deadline(timeout, checkpoints[0]), stdout_to_stderr(), progress_bar(quiet=quiet, unit=unit) as progress:
        common: dict[str, Any] = {
            "data": feeding.specs,
            "load_options": reading.options(),
            "device": device,
            "progress": progress,
        }
        report: HistoryResult | PathResult
        if path:
            from normdiag.commands.path import interpolate  # here, so that --help does not wait for it

            options = feeding.options(batch_size=64)
            report = interpolate(*checkpoints, data_options=options, steps=steps or 11, **common)
        else:
            from normdiag.commands.history import history as run

            report = run(checkpoints, data_options=feeding.options(batch_size=32), every=every, **common)
    if csv:
        write_reports(files, of_document(report.document, report.to_json, all_layers=all_layers), quiet=quiet)
        print_out(report.to_csv())
    else:
        put_out(report.document, report.to_json, files, json=json, all_layers=all_layers, color=color, quiet=quiet)
    raise typer.Exit(0)


def _check(checkpoints: Sequence[str], feeding: FeedingOptions, every: int, path: bool, steps: int | None) -> None:
    """Raise UsageError for what cannot be meant."""
    if not all(checkpoints):
        raise UsageError("the path of a checkpoint is empty")
    if not feeding.data:
        raise UsageError("history runs every checkpoint on the same data: give it with --data")
    if path and len(checkpoints) != 2:
        raise UsageError(f"--path lies between two checkpoints, and {len(checkpoints)} are given")
    if path and every != 1:
        raise UsageError("--every is for the checkpoints of a run; --steps says how many points --path has")
    if steps is not None and not path:
        raise UsageError("--steps is for --path, the line between two checkpoints; --every takes some of a run")
