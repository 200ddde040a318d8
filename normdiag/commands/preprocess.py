"""`normdiag.preprocess`: which preparation of the input do the stored statistics belong to?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normdiag.commands.feeding import with_feeding
from normdiag.commands.measure import open_runner, runnable
from normdiag.commands.preparation import prepare_trial, try_all
from normdiag.commands.sources import open_source
from normdiag.data import DataOptions
from normdiag.data.options import in_random_order
from normdiag.errors import InputError, UsageError
from normdiag.graph import open_model
from normdiag.models import LoadOptions
from normdiag.ops import SATURATION_THRESHOLD
from normdiag.records import Model
from normdiag.results.notebook import shows_progress
from normdiag.results.ranking import PreparationResult
from normdiag.wording import abridged

if TYPE_CHECKING:
    from torch import nn

UNSEEN = (
    "what moves no statistic cannot be seen: a mirrored or turned image, and labels in another order; nor can a resize "
    "that is not among the candidates"
)


@shows_progress("preparations")
def preprocess(
    model: nn.Module | str | Path,
    batches: Iterable[Any] | None = None,
    *,
    data: Sequence[str] = (),
    data_options: DataOptions | None = None,
    load_options: LoadOptions | None = None,
    device: str | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> PreparationResult:
    """Rank the usual preparations of the input by how well they fit the running statistics of a model.

    `model`, `batches` and `data` are as for `inspect`, and read in a random order as there; `batches` are prepared
    further. Up to 256 samples are run in each preparation that may be the best, 64 in the others.
    `progress(done, total)` is called after each. Raises InputError for a model or data that cannot be used, and where
    the model has no running statistics.

    >>> import normdiag
    >>> normdiag.preprocess("sample_models/digits_cnn.onnx", data=["sample_models/digits.npz"]).found.best
    'unit'
    """
    if batches is not None and data:
        raise UsageError("give either batches or data, not both")
    if batches is None and not data:
        raise UsageError("preprocess needs images to try: --data")
    loaded = open_model(model, load_options, run=True)
    options = in_random_order(data_options)
    loaded = runnable(with_feeding(loaded, options, data, code=batches is not None))
    source = open_source(loaded, batches, data, options)
    if source.info.random:
        raise UsageError("--data random has no preparation to find: give images as they are stored")
    if loaded.program is None:
        raise InputError(f"{loaded.info.path}: the model cannot be run: {loaded.why_not_run}")
    runner = open_runner(loaded, device, SATURATION_THRESHOLD)
    found = try_all(runner, prepare_trial(source, data, options, loaded.inputs), progress, shapes=True)
    named = (word for each in data for word in ("--data", each))
    arguments = (*loaded.reading, *named, *options.words) if data and loaded.info.path else ()
    return PreparationResult(loaded.info, source.info.source, found, (UNSEEN,), arguments)


def chosen_preparation(
    model: Model, data: Sequence[str], options: DataOptions, device: str | None
) -> tuple[DataOptions, str]:
    """The options with the preparation that fits best in place of AUTO, and a note that says so.

    Where none is surely best it is the default if that fits, else the first that fits and does not adapt: what adapts
    would hide from an inspection whatever else was done to the images. Where there is none, it is the default too.
    Raises UsageError for batches from code, which come as they come, and InputError as `preprocess` does.
    """
    if not data:
        raise UsageError("--preprocess auto is for files of images: batches from Python come prepared")
    without = replace(options, preprocess=None)
    source = open_source(model, None, data, without)
    runner = open_runner(model, device, SATURATION_THRESHOLD)
    found = try_all(runner, prepare_trial(source, data, without, model.inputs), shapes=True)
    if found.best is not None:
        return replace(options, preprocess=found.best), f"--preprocess auto: {found.best}"
    fixed = [each for each in found.fitting if found.row(each).numbers_from == "preset"]
    if not fixed:
        adapting = f"but {abridged(list(found.fitting))}, which may make up for something else" if found.fitting else ""
        none = "no preparation fits the stored statistics"
        return without, f"--preprocess auto: {none}{adapting and f', {adapting}'}; the default, {found.used}, is used"
    option = found.used if found.used in fixed else fixed[0]
    others = [each for each in found.fitting if each != option]
    also = f": {abridged(others)} would fit as well" if others else ""
    taken = without if option == found.used else replace(options, preprocess=option)
    return taken, f"--preprocess auto: {option}, but not surely{also}"
