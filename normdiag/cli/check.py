"""`normdiag check`: options and configuration in, reports out, the gate as the exit code."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
from normdiag.cli.output import print_out, print_text, say, stdout_to_stderr, write_file
from normdiag.cli.progress import progress_bar
from normdiag.cli.reports import option, report_files, write_reports
from normdiag.cli.status import check_exit_code
from normdiag.cli.targets import check_targets, sources
from normdiag.errors import InputError, UsageError
from normdiag.terminal import DEFAULT_WIDTH, is_ascii_only, terminal_width, wants_color

if TYPE_CHECKING:
    from normdiag.config import Config, DataSettings, Settings
    from normdiag.records import CheckReport


def check(
    feeding: FeedingOptions,
    reading: ReadingOptions,
    models: chk.Models = None,
    train_data: data_options.TrainData = None,
    reference: data_options.Reference = None,
    serve_batch: data_options.ServeBatch = None,
    device: opt.Device = "cpu",
    timeout: opt.Timeout = None,
    saturation_threshold: opt.Threshold = None,
    fail_on: chk.FailOn = None,
    require_data: opt.RequireData = None,
    select: chk.Select = None,
    extend_select: chk.ExtendSelect = None,
    ignore: chk.Ignore = None,
    target: chk.Target = None,
    baseline: chk.Baseline = None,
    write_baseline: chk.WriteBaseline = None,
    config_file: opt.ConfigFile = None,
    no_config: opt.NoConfig = False,
    allow_config_code: opt.AllowConfigCode = False,
    show_config: chk.ShowConfig = False,
    jobs: chk.Jobs = 1,
    format_: chk.OutFormat = chk.CheckFormat.text,
    report: opt.Reports = None,
    sarif_uri: chk.SarifUri = "",
    all_layers: opt.All = False,
    color: opt.Color = None,
    quiet: opt.Quiet = False,
) -> None:
    """Parse, check, write, gate."""
    beside = tuple(train_data) if train_data else None
    settings = feeding.settings(train_data=beside, reference=reference, serve_batch=serve_batch)
    flags = replace(_flags(select, extend_select, ignore, fail_on, target, settings), require_data=require_data)
    config = configuration(flags, config_file, none=no_config, allow_code=allow_config_code)
    if show_config:
        print_out(_shown(config, format_))
        return
    if not models:
        raise UsageError("give model files, folders or globs (normdiag check --help shows what there is)")
    if not any(each.data for each in (config.data, *config.models.values())):
        others = {"--train-data": train_data, "--reference": reference, "--serve-batch": serve_batch}
        feeding.refuse_without_data(others | {"--saturation-threshold": saturation_threshold})
    if baseline is not None and write_baseline is not None:
        raise UsageError("--baseline and --write-baseline exclude each other: one reads what the other writes")
    files = report_files(report, [each.value for each in chk.CheckFormat])
    targets = [(option(kind), path) for kind, path in files]
    targets += [] if write_baseline is None else [("--write-baseline", write_baseline)]
    if targets:
        from normdiag.commands.model_files import find_models

        check_targets(targets, sources(find_models(models).files, reading.arch, config, baseline))
    from normdiag.commands.check import Checking
    from normdiag.commands.check import check as check_models
    from normdiag.render.ci.render import render

    threshold: dict[str, Any] = {} if saturation_threshold is None else {"threshold": saturation_threshold}
    checking = Checking(config, reading.options(), device, timeout=timeout, **threshold)
    found: CheckReport
    with stdout_to_stderr(), progress_bar(quiet=quiet, unit="models") as progress:
        found = check_models(models, checking, jobs=jobs, known=baseline, progress=progress, isolated=True)
    if write_baseline is not None:
        found = _write_baseline(found, write_baseline, quiet)
    to_file = partial(render, found, prefix=sarif_uri, all_layers=all_layers, width=DEFAULT_WIDTH)
    write_reports(files, to_file, quiet=quiet)
    style = {"color": wants_color(color), "all_layers": all_layers, "ascii_only": is_ascii_only()}
    print_report = print_text if format_ is chk.CheckFormat.text else print_out
    print_report(render(found, format_.value, prefix=sarif_uri, width=terminal_width(), **style))
    if format_ is chk.CheckFormat.github:
        _step_summary(found)
    raise typer.Exit(check_exit_code(found))


def _flags(
    select: Sequence[str] | None,
    extend_select: Sequence[str] | None,
    ignore: Sequence[str] | None,
    fail_on: chk.Severity | None,
    target: chk.Number | None,
    data: DataSettings,
) -> Settings:
    """What the flags say."""
    from normdiag.config import Settings

    return Settings(
        select=_words(select),
        extend_select=_words(extend_select) or (),
        ignore=_words(ignore),
        fail_on=None if fail_on is None else fail_on.value,
        target=None if target is None else target.value,
        data=data,
    )


def _words(given: Sequence[str] | None) -> tuple[str, ...] | None:
    """'ND1,ND301' and the like, taken apart."""
    return None if given is None else tuple(word.strip() for each in given for word in each.split(",") if word.strip())


def _shown(config: Config, format_: chk.CheckFormat) -> str:
    from normdiag.config import to_dict, to_toml

    if format_ is chk.CheckFormat.text:
        return to_toml(config)
    if format_ is chk.CheckFormat.json:
        from normdiag.render.json import dump

        return dump({"source": config.source, "folder": os.path.relpath(config.folder), **to_dict(config)})
    raise UsageError("--show-config is printed as text (TOML) or json")


def _write_baseline(report: CheckReport, path: Path, quiet: bool) -> CheckReport:
    """Write it, and take its findings as known from now on."""
    from normdiag.config import baseline

    if report.unreadable or report.interrupted:
        why = "not every model could be checked" if report.unreadable else "the run was interrupted"
        _say(f"{path} is not written: {why}", quiet=False)
        return report
    write_file(path, baseline.dump(report, path.parent))
    count = sum(len(model.findings) for model in report.models)
    _say(f"wrote {path} with {count:,} known findings", quiet)
    return baseline.apply(report, baseline.read(path), path)


def _step_summary(report: CheckReport) -> None:
    """The whole report after what the step has already written to its summary page."""
    target = os.environ.get("GITHUB_STEP_SUMMARY")
    if not target:
        return
    from normdiag.render.ci.github import SUMMARY_BYTES, step_summary
    from normdiag.render.ci.markdown import render_markdown

    path = Path(target)
    try:
        used = path.stat().st_size if path.exists() else 0
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(step_summary(render_markdown(report), SUMMARY_BYTES - used))
    except OSError as error:
        raise InputError(f"GITHUB_STEP_SUMMARY={target}: cannot be written ({error.strerror})") from None


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        say(text)
