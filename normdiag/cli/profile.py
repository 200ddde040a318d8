"""`normdiag profile`: a model and data in, a file of sums out; or several such files in, one out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from normdiag.cli import options as opt
from normdiag.cli.groups import FeedingOptions, ReadingOptions
from normdiag.cli.output import is_first, stdout_to_stderr
from normdiag.cli.progress import progress_bar
from normdiag.cli.reports import Files, check_report_files, put_out, report_files
from normdiag.cli.targets import check_target
from normdiag.deadline import deadline
from normdiag.errors import UsageError

if TYPE_CHECKING:
    from normdiag.commands.profile import Progress
    from normdiag.models import LoadOptions
    from normdiag.records import Profile
    from normdiag.results.profiled import ProfileResult

Sources = Annotated[
    list[str],
    typer.Argument(metavar="MODEL | PROFILE...", help="A model to profile on data, or profiles to be merged."),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="The profile to write.", rich_help_panel=opt.OUTPUT),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing FILE.", rich_help_panel=opt.OUTPUT)]
AllPoints = Annotated[bool, typer.Option("--all", help="Show every point.", rich_help_panel=opt.OUTPUT)]
Groups = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Groups of samples that errors come from: 16, or 8, 4 or 2 for a smaller file.",
        rich_help_panel=opt.MEASURING,
        show_default=False,
    ),
]


def profile(
    sources: Sources,
    feeding: FeedingOptions,
    reading: ReadingOptions,
    output: Output = None,
    force: Force = False,
    groups: Groups = None,
    device: opt.Device = "cpu",
    stream: opt.Stream = opt.StreamChoice.auto,
    timeout: opt.Timeout = None,
    json: opt.FoldJson = False,
    report_to: opt.Reports = None,
    all_points: AllPoints = False,
    color: opt.Color = None,
    quiet: opt.Quiet = False,
) -> None:
    """Measure or merge, write, print."""
    if not all(sources):
        raise UsageError("the path of the model is empty")
    if output is None:
        raise UsageError("where shall the profile go? Give -o FILE")
    read = [*sources, *feeding.specs, *filter(None, [reading.arch])]
    check_target(output, read)
    if output.exists() and not force:
        raise UsageError(f"-o {output} exists; --force replaces it")
    files = report_files(report_to)
    check_report_files(files, read, output)
    from normdiag.models.sniff import is_profile  # here, so that --help does not wait for it
    from normdiag.profiles import write_profile

    if all(is_profile(Path(each)) for each in sources):
        _refuse({"--data": feeding.data, "--groups": groups, "--arch": reading.arch}, "where profiles are merged")
        from normdiag.commands.profile import merged_profile

        made = merged_profile(sources)
    elif len(sources) > 1:
        raise UsageError("give one model and --data, or profiles alone to be merged")
    else:
        waiting = progress_bar(quiet=quiet or not is_first())
        with deadline(timeout, sources[0]), stdout_to_stderr(), waiting as progress:
            loading = reading.options(stream, quiet=quiet or not is_first())
            made = _measured(Path(sources[0]), feeding, loading, device, groups, progress)
    if is_first():
        write_profile(made, output)
        _show(made, ProfileOutput(files, json, color, all_points, quiet), written=str(output))
    raise typer.Exit(0)


def _measured(
    model: Path,
    feeding: FeedingOptions,
    loading: LoadOptions,
    device: str,
    groups: int | None,
    progress: Progress | None,
) -> ProfileResult:
    from normdiag.commands.profile import profile as run

    return run(
        model,
        data=feeding.specs,
        data_options=feeding.options(batch_size=64),
        load_options=loading,
        device=device,
        groups=16 if groups is None else groups,
        distributed=True,
        progress=progress,
    )


@dataclass(frozen=True)
class ProfileOutput:
    """How a profile is shown, and the files that it is reported to as well."""

    files: Files
    json: bool
    color: bool | None
    all_points: bool
    quiet: bool


def _show(profile: Profile, how: ProfileOutput, *, written: str | None = None) -> None:
    """Report it and print it."""
    from normdiag.render.json import dump
    from normdiag.render.profile_json import profile_to_json
    from normdiag.report.profile import profile_document

    document, as_json = partial(profile_document, profile, written=written), partial(dump, profile_to_json(profile))
    put_out(document, as_json, how.files, json=how.json, all_layers=how.all_points, color=how.color, quiet=how.quiet)


def inspect_profile(path: Path, given: Mapping[str, object], how: ProfileOutput) -> None:
    """What `inspect` shows of a profile. Raises UsageError for options in `given` that are for models."""
    _refuse(given, f"with a profile: {path} holds what was measured")
    from normdiag.profiles import read_profile

    check_report_files(how.files, [str(path)])
    _show(read_profile(path), how)


def _refuse(given: Mapping[str, object], where: str) -> None:
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"{name} does nothing {where}")
