"""`normdiag.profile`: what a model shows on data, kept as a reference for later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normdiag.commands.feeding import with_feeding
from normdiag.commands.measure import open_runner, runnable
from normdiag.commands.ready import with_ready_commands
from normdiag.commands.sources import open_source
from normdiag.data import AUTO, DataOptions, in_random_order
from normdiag.errors import InputError, UsageError
from normdiag.graph import open_model
from normdiag.models import LoadOptions, streaming_where_needed
from normdiag.observe.passes import observe_points
from normdiag.ops import SATURATION_THRESHOLD
from normdiag.profiles import GROUPS, merge, read_profile
from normdiag.ranks import ALONE, started, together
from normdiag.records import Evidence, Model, Profile, ProfiledData, ProfiledModel
from normdiag.records.channel_sums import PARTS
from normdiag.results.notebook import shows_progress
from normdiag.results.profiled import ProfileResult
from normdiag.results.shown import result_of
from normdiag.wording import abridged

if TYPE_CHECKING:
    from torch import nn

Progress = Callable[[int, "int | None"], None]


@shows_progress("samples")
def profile(
    model: nn.Module | str | Path,
    batches: Iterable[Any] | None = None,
    *,
    data: Sequence[str] = (),
    data_options: DataOptions | None = None,
    load_options: LoadOptions | None = None,
    device: str | None = None,
    groups: int = PARTS,
    distributed: bool = False,
    progress: Progress | None = None,
) -> ProfileResult:
    """The sums of a model's points on data: its inputs and outputs, and what enters norms and activations, deployed.

    `model`, `batches` and `data` are as for `inspect`. `groups` (2, 4, 8 or 16) is the number of parts of the samples
    that errors are told by: fewer make a smaller file. `distributed` works with the other processes that torchrun has
    started, which must all call it: each runs its share of `data`, or the `batches` that it is given, and all get the
    same profile. Its `write` makes a file of it, which `inspect` takes as the reference.

    Raises InputError for a model or data that cannot be used, UsageError for arguments that contradict each other.

    >>> import normdiag
    >>> reference = normdiag.profile("sample_models/digits_cnn_group.onnx", data=["sample_models/digits_train.npz"])
    >>> reference
    <ProfileResult: 8 points on 1,438 samples of sample_models/digits_train.npz>
    >>> data = ["sample_models/digits.npz"]
    >>> normdiag.inspect("sample_models/digits_cnn_group.onnx", data=data, reference=reference).verdict
    'ok'
    """
    _check(batches, data, data_options, groups)
    loaded = open_model(model, streaming_where_needed(load_options), run=True)
    loaded = with_ready_commands(loaded, "profile", [word for each in data for word in ("--data", each)])
    ranks = started() if distributed else ALONE
    options = replace(in_random_order(data_options), no_small_last=False, shard=(ranks.rank, ranks.size))
    loaded = runnable(with_feeding(loaded, options, data, code=batches is not None))
    if loaded.program is None:
        raise InputError(f"{loaded.info.path}: the model cannot be run: {loaded.why_not_run}")
    source = open_source(loaded, batches, data, options)
    if source.info.random:
        raise UsageError("a profile of random data would be a reference to nothing: give real data")
    runner = open_runner(loaded, device, SATURATION_THRESHOLD)
    told = None if progress is None else lambda samples: progress(samples, source.info.total)
    seen = together(ranks, lambda: observe_points(runner, source, told), add)
    if not seen.samples:
        raise InputError(f"{source.info.source}: holds no samples")
    about = ProfiledData((source.info.source,), seen.samples, source.info.preprocess, options.preprocess)
    return result_of(ProfileResult, _profile(loaded, seen, about, groups, (*source.info.notes, *runner.notes)))


def merged_profile(paths: Sequence[str | Path]) -> ProfileResult:
    """The profile of all samples of several files together. Raises InputError where one cannot be read or not fit."""
    files = [Path(each) for each in paths]
    if len({each.resolve() for each in files}) < len(files):
        raise UsageError("a profile is named twice: its samples would count twice")
    return result_of(ProfileResult, merge([read_profile(each) for each in files], [str(each) for each in files]))


def _check(batches: object, data: Sequence[str], options: DataOptions | None, groups: int) -> None:
    if batches is not None and data:
        raise UsageError("give either batches or data, not both")
    if batches is None and not data:
        raise UsageError("profile measures a model on data: give it with --data")
    if groups not in GROUPS:
        raise UsageError(f"--groups must be one of {', '.join(map(str, GROUPS))}, not {groups}")
    if options is not None and options.preprocess == AUTO:
        raise UsageError("--preprocess auto is for inspect: say how the data of the profile is prepared")


def _profile(model: Model, seen: Evidence, data: ProfiledData, groups: int, notes: tuple[str, ...]) -> Profile:
    varying = [point.name for point, sums in seen.points.items() if not sums.channels]
    if varying:
        notes = (*notes, f"not kept, since the number of channels differs from batch to batch: {abridged(varying)}")
    info = model.info
    about = ProfiledModel(info.path, info.format, info.backend, info.sha256, info.parameters)
    points = {point: sums.grouped(groups) for point, sums in seen.points.items() if sums.channels}
    return Profile(about, data, points, groups, notes)
