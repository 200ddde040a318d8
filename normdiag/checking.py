"""`normdiag check`: many models through the same engine as `inspect`, with chosen rules and a gate."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from normdiag import api, baseline
from normdiag.config import Config
from normdiag.errors import NormdiagError, debugging, one_line
from normdiag.model_files import find_models, require_file
from normdiag.models import LoadOptions
from normdiag.observe.activations import SATURATION_THRESHOLD
from normdiag.records import CheckedModel, CheckReport, Report

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

Progress = Callable[[int, "int | None"], None]
DIED = "the process that checked it was killed (out of memory?); fewer --jobs need less"


@dataclass(frozen=True)
class Checking:
    """How each model is checked: the configuration, how to read it, and where and how to run it."""

    config: Config = field(default_factory=Config)
    load_options: LoadOptions = field(default_factory=LoadOptions)
    device: str | None = None
    threshold: float = SATURATION_THRESHOLD


def check(
    paths: Sequence[str | Path],
    checking: Checking | None = None,
    *,
    jobs: int = 1,
    known: Path | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Check model files, folders of them and globs.

    A model that cannot be read becomes a line of the report, and the others are checked all the same. `known` is a
    baseline whose findings do not count. With `jobs` above 1 the models are shared out to that many processes.
    `progress(models, total)` is called after each model. Raises InputError where there is no model at all or the
    baseline cannot be read, UsageError for a configuration that contradicts itself.
    """
    checking = checking or Checking()
    checking.config.data.options()
    rules = tuple(rule.id for rule in checking.config.rules())
    listed = () if known is None else baseline.read(known)
    files = find_models(paths)
    models = []
    for model in _checked(files, checking, min(jobs, len(files))):
        models.append(model)
        if progress is not None:
            progress(len(models), len(files))
        if model.report is not None and model.report.interrupted:
            break
    report = CheckReport(tuple(models), rules, checking.config.fail_on)
    return report if known is None else baseline.apply(report, listed, known)


def _checked(files: Sequence[str], checking: Checking, jobs: int) -> Iterator[CheckedModel]:
    """The models in the order of the files."""
    if jobs <= 1:
        yield from (check_one(path, checking) for path in files)
        return
    from concurrent.futures.process import BrokenProcessPool

    with _pool(jobs) as pool:
        futures = [pool.submit(check_one, path, checking) for path in files]
        try:
            for path, future in zip(files, futures, strict=True):
                try:
                    yield future.result()
                except BrokenProcessPool:  # one model took the others down with it: each gets a process of its own
                    yield _alone(path, checking)
        finally:
            pool.shutdown(cancel_futures=True)


def _alone(path: str, checking: Checking) -> CheckedModel:
    from concurrent.futures.process import BrokenProcessPool

    with _pool(1) as pool:
        try:
            return pool.submit(check_one, path, checking).result()
        except BrokenProcessPool:
            return CheckedModel(path, error=f"{path}: {DIED}")


def _pool(jobs: int) -> ProcessPoolExecutor:
    """Fresh processes: a fork would inherit the threads and locks of whatever has been imported here."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_leave_ctrl_c)


def _leave_ctrl_c() -> None:
    """In a worker: Ctrl-C is for the process that started it, which ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def check_one(path: str, checking: Checking) -> CheckedModel:
    """One model, whatever it holds. Only Ctrl-C comes out."""
    started = time.perf_counter()
    try:
        model = _examined(path, checking)
    except Exception as error:
        if debugging() and not isinstance(error, NormdiagError):
            raise
        model = CheckedModel(path, error=one_line(error))
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
    path: str, checking: Checking, *, attribute: bool = False, progress: Progress | None = None
) -> Report:
    """`api.inspect` of a model file with the rules, limits, target and data that the configuration has for it."""
    config = checking.config
    settings = config.data_for(path)
    report = api.inspect(
        path,
        data=settings.data or (),
        data_options=settings.options(),
        load_options=checking.load_options,
        device=checking.device,
        attribute=attribute,
        threshold=checking.threshold,
        progress=progress,
        rules=config.rules_for(path),
        target=config.target,
        serve_batch=settings.serve_batch,
    )
    return replace(report, findings=tuple(finding for finding in report.findings if config.keeps(finding)))
