"""`normdiag recalibrate`: options in, a model with measured statistics out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from normdiag.cli import options as opt
from normdiag.cli import recalibrate_options as rec
from normdiag.cli.fold import interruptible
from normdiag.cli.groups import FeedingOptions, ReadingOptions
from normdiag.cli.output import is_first, say, stdout_to_stderr
from normdiag.cli.progress import progress_bar
from normdiag.cli.reports import check_report_files, put_out, report_files
from normdiag.cli.status import recalibration_exit_code
from normdiag.deadline import deadline
from normdiag.errors import UsageError

if TYPE_CHECKING:
    pass


def recalibrate(
    model: opt.Model,
    feeding: FeedingOptions,
    reading: ReadingOptions,
    output: rec.Output = None,
    force: rec.Force = False,
    dry_run: rec.DryRun = False,
    method: rec.Method = rec.MethodName.precise,
    layers: rec.Layers = None,
    only_drifting: rec.OnlyDrifting = False,
    keep: rec.Keep = None,
    pseudo_count: rec.PseudoCount = None,
    tolerance: rec.Tolerance = None,
    holdout: rec.Holdout = 0.2,
    eval_data: rec.EvalData = None,
    accept_worse: rec.AcceptWorse = False,
    device: opt.Device = "cpu",
    timeout: opt.Timeout = None,
    json: opt.FoldJson = False,
    report_to: opt.Reports = None,
    all_layers: opt.All = False,
    color: opt.Color = None,
    quiet: opt.Quiet = False,
) -> None:
    """Measure, judge, write, report."""
    if not model:
        raise UsageError("the path of the model is empty")
    if output is None and not dry_run:
        raise UsageError("where shall the recalibrated model go? Give -o FILE, or --dry-run to see what would change")
    files = report_files(report_to)
    check_report_files(files, [model, reading.arch, *feeding.specs, *(eval_data or ())], output)
    from normdiag.commands.recalibrate import recalibrate as run  # here, so that --help does not wait for it
    from normdiag.recalibration.options import RecalibrateOptions
    from normdiag.report.words import number

    options = RecalibrateOptions(
        output=output,
        method=method.value,
        keep=keep,
        pseudo_count=pseudo_count,
        layers=tuple(layers or ()),
        only_drifting=only_drifting,
        tolerance=tolerance,
        holdout=holdout,
        accept_worse=accept_worse,
        force=force,
        dry_run=dry_run,
    )
    waiting = progress_bar(quiet=quiet or not is_first())
    with interruptible(output):
        with deadline(timeout, model), stdout_to_stderr(), waiting as bar:
            result = run(
                Path(model),
                data=feeding.specs,
                eval_data=tuple(eval_data or ()),
                data_options=feeding.options(batch_size=64),
                load_options=reading.options(),
                options=options,
                device=device,
                distributed=True,
                progress=None if bar is None else lambda n, total, error: bar(n, total, f"known to ±{number(error)}"),
            )
        report = result.report
        if not is_first():
            raise typer.Exit(recalibration_exit_code(report))
        put_out(result.document, result.to_json, files, json=json, all_layers=all_layers, color=color, quiet=quiet)
    if report.outcome == "worse" and report.written is None:
        say("worse on the samples held out; nothing written (--accept-worse writes it all the same)")
    raise typer.Exit(recalibration_exit_code(report))
