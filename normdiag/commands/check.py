"""`normdiag check`: many models through the same engine as `inspect`, with chosen rules and a gate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from normdiag.commands.inspect import inspect
from normdiag.commands.model_files import find_models, require_file
from normdiag.config import Config, baseline
from normdiag.deadline import deadline
from normdiag.errors import DeadlineReached, NormdiagError, debugging, one_line
from normdiag.models import LoadOptions
from normdiag.ops import SATURATION_THRESHOLD
from normdiag.records import CheckedModel, CheckReport, Report
from normdiag.results.checked import CheckResult
from normdiag.results.notebook import shows_progress
from normdiag.results.shown import result_of

Progress = Callable[[int, "int | None"], None]


@dataclass(frozen=True)
class Checking:
    """How each model is checked: the configuration, how to read it, where and how to run it, and for how long (s)."""

    config: Config = field(default_factory=Config)
    load_options: LoadOptions = field(default_factory=LoadOptions)
    device: str | None = None
    threshold: float = SATURATION_THRESHOLD
    timeout: float | None = None


@shows_progress("models")
def check(
    paths: Sequence[str | Path],
    checking: Checking | None = None,
    *,
    jobs: int = 1,
    known: Path | None = None,
    progress: Progress | None = None,
    isolated: bool = False,
) -> CheckResult:
    """Check model files, folders of them and globs.

    A model that cannot be read becomes a line of the report, and the others are checked all the same. `known` is a
    baseline whose findings do not count. With `jobs` above 1 the models are shared out to that many processes, which
    needs a main module that can be imported; with `isolated`, so are models that are run, so that a crash of theirs is
    the error of one model. `progress(models, total)` is called after each model. Ctrl-C ends the check, and the report
    covers what was seen so far. Raises InputError where there is no model at all or the baseline cannot be read,
    UsageError for a configuration that contradicts itself.

    >>> import normdiag
    >>> gate = normdiag.check(["sample_models/digits_cnn.onnx", "sample_models/digits_cnn_training.onnx"])
    >>> gate.passed
    False
    >>> [(model.path, finding.rule) for model, finding in gate.failing()]
    [('sample_models/digits_cnn_training.onnx', 'ND201')]
    """
    checking = checking or Checking()
    checking.config.data.options()
    rules = tuple(rule.id for rule in checking.config.rules())
    listed = () if known is None else baseline.read(known)
    found = find_models(paths)
    files = found.files
    models: list[CheckedModel] = []
    with suppress(KeyboardInterrupt):
        for model in _checked(files, checking, min(jobs, len(files)), isolated):
            models.append(model)
            if progress is not None:
                progress(len(models), len(files))
    config, left = checking.config, len(files) - len(models)
    report = CheckReport(
        tuple(models),
        rules,
        config.fail_on,
        unchecked=left,
        require_data=config.require_data,
        skipped=found.skipped,
    )
    return result_of(CheckResult, report if known is None else baseline.apply(report, listed, known))


def _checked(files: Sequence[str], checking: Checking, jobs: int, isolated: bool) -> Iterator[CheckedModel]:
    """The models in the order of the files, until Ctrl-C."""
    if jobs > 1 or (isolated and any(_runs(path, checking) for path in files)):
        from normdiag import workers

        for path, got in workers.each(partial(check_one, checking=checking), files, jobs):
            if isinstance(got, workers.Died):
                yield CheckedModel(path, error=f"{path}: the process that checked it {got}")
            else:
                yield got
        return
    for path in files:
        model = check_one(path, checking)
        yield model
        if model.report is not None and model.report.interrupted:
            return


def _runs(path: str, checking: Checking) -> bool:
    """Whether checking this model runs code of the user's, or the model."""
    options = checking.load_options
    return bool(options.arch or options.trust or checking.config.data_for(path).data)


def check_one(path: str, checking: Checking) -> CheckedModel:
    """One model, whatever it holds. Only Ctrl-C comes out."""
    started = time.perf_counter()
    try:
        with deadline(checking.timeout, path):
            model = _examined(path, checking)
    except DeadlineReached as error:
        model = CheckedModel(path, error=str(error))
    except Exception as error:
        if debugging() and not isinstance(error, NormdiagError):
            raise
        model = CheckedModel(path, error=one_line(error))
    except SystemExit as error:
        model = CheckedModel(path, error=f"{path}: code that was loaded ended the program (exit {error.code})")
    return replace(model, seconds=time.perf_counter() - started)


def _examined(path: str, checking: Checking) -> CheckedModel:
    require_file(path)
    rules = checking.config.rules_for(path)
    report = inspect_as_configured(path, checking)
    wanted = checking.config.data_for(path).data and any(rule.needs_data for rule in rules)
    error = _not_run(path, report.why_not_run, checking.config) if wanted and report.data is None else None
    return CheckedModel(path, report, error, rules=tuple(rule.id for rule in rules))


def _not_run(path: str, why: str | None, config: Config) -> str:
    """That the rules on data did not look, although there was data for them."""
    by_flag = "to give only other models data, name them by pattern in the configuration: [tool.normdiag.models]"
    by_pattern = "to check it without, keep it out of the pattern in [tool.normdiag.models] that gives it data"
    return f"{path}: the data was not used: {why}; {by_flag if config.data.data else by_pattern}"


def inspect_as_configured(
    path: str,
    checking: Checking,
    *,
    attribute: bool = False,
    distributed: bool = False,
    progress: Progress | None = None,
) -> Report:
    """`inspect` of a model file with the rules, limits, target and data that the configuration has for it."""
    config = checking.config
    settings = config.data_for(path)
    report = inspect(
        path,
        data=settings.data or (),
        train_data=settings.train_data or (),
        data_options=settings.options(),
        load_options=checking.load_options,
        device=checking.device,
        attribute=attribute,
        threshold=checking.threshold,
        progress=progress,
        rules=config.rules_for(path),
        target=config.target,
        serve_batch=settings.serve_batch,
        distributed=distributed,
        reference=settings.reference,
    )
    return replace(report, findings=config.kept(report.findings))
