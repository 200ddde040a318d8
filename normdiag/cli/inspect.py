"""`normdiag inspect`: options in, report out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from normdiag.cli import check_options as chk
from normdiag.cli import data_options
from normdiag.cli import options as opt
from normdiag.cli.given import configuration
from normdiag.cli.groups import FeedingOptions, ReadingOptions
from normdiag.cli.output import is_first, print_out, print_text, say, stdout_to_stderr, write_file
from normdiag.cli.profile import ProfileOutput, inspect_profile
from normdiag.cli.progress import progress_bar
from normdiag.cli.reports import check_report_files, of_document, report_files, write_reports
from normdiag.cli.status import exit_code
from normdiag.cli.targets import check_target, sources
from normdiag.deadline import deadline
from normdiag.errors import UsageError
from normdiag.terminal import DEFAULT_WIDTH, is_ascii_only, terminal_width, wants_color

if TYPE_CHECKING:
    from normdiag.records import Report


def inspect(
    model: opt.Model,
    feeding: FeedingOptions,
    reading: ReadingOptions,
    train_data: data_options.TrainData = None,
    reference: data_options.Reference = None,
    serve_batch: data_options.ServeBatch = None,
    target: chk.Target = None,
    device: opt.Device = "cpu",
    stream: opt.Stream = opt.StreamChoice.auto,
    timeout: opt.Timeout = None,
    attribute: opt.Attribute = False,
    saturation_threshold: opt.Threshold = None,
    require_data: opt.RequireData = None,
    config_file: opt.ConfigFile = None,
    no_config: opt.NoConfig = False,
    allow_config_code: opt.AllowConfigCode = False,
    format_: opt.ReportFormat = None,
    json: opt.Json = False,
    output: opt.Output = None,
    report_to: opt.Reports = None,
    all_layers: opt.All = False,
    channels: opt.Channels = None,
    color: opt.Color = None,
    quiet: opt.Quiet = False,
) -> None:
    """Parse, measure, print."""
    if not model:
        raise UsageError("the path of the model is empty")
    if json and format_ is opt.Format.text:
        raise UsageError("--json and --format text contradict each other")
    to_file = output if output is not None and str(output) != "-" else None
    from normdiag.models.sniff import is_profile  # here, as all that follows, so that --help does not wait for it

    if is_profile(Path(model)):
        given = {"--data": feeding.data, "--reference": reference, "-o": to_file, "--channels": channels}
        given |= {"--target": target}
        how = ProfileOutput(report_files(report_to), json, color, all_layers, quiet)
        inspect_profile(Path(model), given, how)
        raise typer.Exit(0)
    beside = tuple(train_data) if train_data else None
    settings = feeding.settings(train_data=beside, reference=reference, serve_batch=serve_batch)
    from normdiag.commands.check import Checking, inspect_as_configured
    from normdiag.config import Settings

    declared = Settings(data=settings, require_data=require_data, target=None if target is None else target.value)
    config = configuration(declared, config_file, none=no_config, allow_code=allow_config_code)
    if not config.data_for(model).data:
        flags = {
            "--train-data": train_data,
            "--reference": reference,
            "--serve-batch": serve_batch,
            "--attribute": attribute or None,
            "--stream": None if reading.arch or stream is opt.StreamChoice.auto else stream,
        }
        # A shape alone still shows the rules on the graph of a PyTorch model what to export it with.
        feeding.refuse_without_data(flags | {"--saturation-threshold": saturation_threshold}, but=("--input-shape",))
    read = sources([model], reading.arch, config)
    if to_file is not None:
        check_target(to_file, read)
    files = report_files(report_to)
    check_report_files(files, read, to_file)
    threshold: dict[str, Any] = {} if saturation_threshold is None else {"threshold": saturation_threshold}
    load_options = reading.options(stream, quiet=quiet or not is_first())
    checking = Checking(config, load_options, device, **threshold)
    waiting = progress_bar(quiet=quiet or not is_first())
    with deadline(timeout, model), stdout_to_stderr(), waiting as progress:
        report = inspect_as_configured(model, checking, attribute=attribute, distributed=True, progress=progress)
    if not is_first():
        raise typer.Exit(exit_code(report, require_data=config.require_data))
    if config.source is not None:
        note = f"rules, limits, target and data as {config.source} has them (--no-config leaves it out)"
        report = replace(report, notes=(*report.notes, note))
    as_json = json or format_ is opt.Format.json
    text = _as_json(report, channels) if as_json else _as_text(report, to_file, color, all_layers, channels)
    write_reports(files, _reports(report, all_layers, channels), quiet=quiet)
    if to_file is None:
        (print_out if as_json else print_text)(text)
    else:
        _write(report, text, to_file, quiet)
    raise typer.Exit(exit_code(report, require_data=config.require_data))


def _reports(report: Report, all_layers: bool, channels: str | None) -> Callable[[str], str]:
    from normdiag.report.inspect import inspect_document

    as_json = partial(_as_json, report, channels)
    return of_document(partial(inspect_document, report), as_json, all_layers=all_layers)


def _as_json(report: Report, channels: str | None) -> str:
    from normdiag.render.json import dump_json

    return dump_json(report, channels=channels)


def _as_text(report: Report, target: Path | None, color: bool | None, all_layers: bool, channels: str | None) -> str:
    from normdiag.render.text import render_text
    from normdiag.report.abridge import Detail
    from normdiag.report.inspect import inspect_document

    to_file = target is not None
    return render_text(
        inspect_document(report, Detail(all_layers, channels)),
        width=DEFAULT_WIDTH if to_file else terminal_width(),
        color=bool(color) if to_file else wants_color(color),
        ascii_only=not to_file and is_ascii_only(),
    )


def _write(report: Report, text: str, target: Path, quiet: bool) -> None:
    write_file(target, text)
    if not quiet:
        from normdiag.report.words import count

        errors = sum(finding.severity == "error" for finding in report.findings)
        others = len(report.findings) - errors
        say(f"wrote {target} ({count(errors, 'error')}, {count(others, 'other finding')})")
