"""`normdiag fold`: options in, a folded and verified model out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import typer

from normdiag.cli import fold_options as fold_opt
from normdiag.cli import options as opt
from normdiag.cli.groups import FeedingOptions, ReadingOptions
from normdiag.cli.output import say, stdout_to_stderr
from normdiag.cli.progress import progress_bar
from normdiag.cli.reports import check_report_files, put_out, report_files
from normdiag.cli.status import INTERRUPTED, fold_exit_code
from normdiag.deadline import deadline
from normdiag.errors import UsageError


def fold(
    model: opt.Model,
    feeding: FeedingOptions,
    reading: ReadingOptions,
    output: fold_opt.FoldOutput = None,
    force: opt.Force = False,
    dry_run: opt.DryRun = False,
    norms: fold_opt.Norms = "batch",
    no_verify: fold_opt.NoVerify = False,
    timeout: opt.Timeout = None,
    opset: fold_opt.Opset = None,
    input_name: fold_opt.InputName = None,
    output_name: fold_opt.OutputName = None,
    static_batch: fold_opt.StaticBatch = False,
    set_eval: fold_opt.SetEval = False,
    json: opt.FoldJson = False,
    report_to: opt.Reports = None,
    all_layers: opt.All = False,
    color: opt.Color = None,
    quiet: opt.Quiet = False,
) -> None:
    """Plan, fold, verify, write, report."""
    if not model:
        raise UsageError("the path of the model is empty")
    if output is None and not dry_run:
        raise UsageError("where shall the folded model go? Give -o FILE, or --dry-run to see the plan alone")
    files = report_files(report_to)
    check_report_files(files, [model, reading.arch, *feeding.specs], output)
    if not feeding.data:
        feeding.refuse_without_data({}, but=("--batch-size", "--input-shape", "--seed", "--const"))
    from normdiag.commands.fold import fold as fold_model  # here, so that --help and wrong usage do not wait for it
    from normdiag.folding.options import ExportOptions

    waiting = progress_bar(quiet=quiet, unit="runs")
    with interruptible(output):
        with deadline(timeout, model), stdout_to_stderr(), waiting as progress:
            result = fold_model(
                Path(model),
                output=output,
                norms=tuple(part.strip() for part in norms.split(",") if part.strip()),
                force=force,
                dry_run=dry_run,
                verify=not no_verify,
                data=feeding.specs,
                data_options=feeding.options(batch_size=8),
                load_options=reading.options(),
                export=ExportOptions(
                    () if static_batch else (0,), opset, tuple(input_name or ()), tuple(output_name or ())
                ),
                set_eval=set_eval,
                progress=progress,
            )
        put_out(result.document, result.to_json, files, json=json, all_layers=all_layers, color=color, quiet=quiet)
    if result.verification is not None and not result.verification.passed:
        from normdiag.folding.verify import failure_message

        say(failure_message(result.verification))
    raise typer.Exit(fold_exit_code(result.report))


@contextmanager
def interruptible(output: Path | None) -> Iterator[None]:
    """Ctrl-C inside ends the program with a line on what it leaves on disk: 130 for nothing, 0 for the whole file."""
    before = _identity(output)
    try:
        yield
    except KeyboardInterrupt:
        if _identity(output) == before:
            say("interrupted; nothing written")
            raise typer.Exit(INTERRUPTED) from None
        say(f"{output} is written and complete; interrupted before the report was printed")
        raise typer.Exit from None


def _identity(path: Path | None) -> tuple[int, int, int] | None:
    """What changes where a file is replaced; None where there is none."""
    with suppress(OSError):
        status = None if path is None else path.stat()
        return None if status is None else (status.st_dev, status.st_ino, status.st_mtime_ns)
    return None
