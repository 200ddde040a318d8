"""The same samples through a model in every usual preparation, ranked by how well the stored statistics fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from normdiag.commands.fitted import fitted_candidates
from normdiag.commands.sources import GivenBatches, Streaming, first_batches
from normdiag.commands.tried import Tried, try_one
from normdiag.commands.unlisted import Attempt, fitted_ones, reshaped_ones
from normdiag.data import DataOptions
from normdiag.data.candidates import PreparationCandidate, candidates, shape_changes, without_fit
from normdiag.data.join import reprepared
from normdiag.data.preprocess import is_pixels, recognise_layout
from normdiag.data.recipe import parse_recipe
from normdiag.data.source import DataSource, open_data, other_image_fits
from normdiag.errors import InputError
from normdiag.metrics.preparation import in_the_running, ranked, surely_best
from normdiag.observe.protocol import Runner
from normdiag.records import Batch, InputSpec, Model, Report
from normdiag.records.preparation import Preparations, RankedPreparation
from normdiag.rules.nd308_other_answers import gained

if TYPE_CHECKING:
    from numpy.typing import NDArray

# All are tried on a few samples, and those that may be best on more.
TRIAL_SAMPLES, SAMPLES = 64, 256
PROBE_SAMPLES = 32
# A drift of the first layers beyond this fits no preparation: the statistics, or the images, are others.
FITS = 0.6
# So are they where their own statistics would change more answers than this: 0.04 where all is right, and up to 0.15 on
# right images of a network that was trained on moved ones.
MOST_CHANGED = 0.2
RAW = PreparationCandidate("raw", "as it is stored")
# Drift of the first layer at which an inspection tries other preparations: by itself, or where answers would change.
LOUD, QUIET, SOME_ANSWERS = 0.3, 0.1, 0.05
# Healthy networks become more decided with the data's own statistics by at most 2.2 standard errors.
SURELY = 5.0

Opener = Callable[[PreparationCandidate, int], Iterable[Batch]]


@dataclass(frozen=True, eq=False)
class PreparationTrial:
    """What there is to try: the candidates, the option in use, and what reads so many samples in one of them.

    `head` are the first samples as they are stored, `fits` other ways to bring images to one shape; `kept` is the one
    in use, as the end of an option.
    """

    candidates: tuple[PreparationCandidate, ...]
    used: str
    open: Opener
    head: NDArray[Any]
    fits: Mapping[str, str] = field(default_factory=dict)
    kept: str = ""

    def with_kept(self, candidate: PreparationCandidate) -> PreparationCandidate:
        """The candidate for images brought to one shape as now."""
        if not self.kept or candidate.option.endswith(self.kept):
            return candidate
        return replace(candidate, option=f"{candidate.option}{self.kept}")


def prepare_trial(
    source: DataSource | GivenBatches | Streaming,
    data: Sequence[str],
    options: DataOptions,
    inputs: Sequence[InputSpec],
) -> PreparationTrial:
    """What to try on this data. Raises InputError where there are no samples."""
    fit = parse_recipe(options.preprocess).fit if options.preprocess else None
    kept = f",fit={fit}" if fit else ""
    pixels = source.info.pixels
    if data:

        def opener(candidate: PreparationCandidate, samples: int) -> Iterable[Batch]:
            return _opened(data, options, inputs, candidate.option, samples)

    else:
        batches = list(first_batches(iter(source), SAMPLES))
        pixels = any(is_pixels(batch.arrays[0].dtype) for batch in batches[:1])

        def opener(candidate: PreparationCandidate, samples: int) -> Iterable[Batch]:
            recipe = parse_recipe(candidate.option)
            return (reprepared(batch, recipe, inputs) for batch in first_batches(batches, samples))

    raw = replace(RAW, option=f"{RAW.option}{kept}")
    head = _head(opener(raw, TRIAL_SAMPLES))
    if head is None:
        raise InputError(f"{source.info.source}: holds no samples")
    used = options.preprocess or ("unit" if source.info.pixels else "raw")  # arrays from code come as they come
    fits = other_image_fits(data, options, inputs) if data else {}
    plain = candidates(head, pixels=pixels, used=without_fit(used))
    trial = PreparationTrial((), used, opener, head, fits, kept)
    found = tuple(map(trial.with_kept, plain))
    return replace(trial, candidates=found, used=found[0].option)


def _head(batches: Iterable[Batch]) -> NDArray[Any] | None:
    """The samples of these batches, as far as they have one shape, with their channels second; None without any."""
    arrays = [batch.arrays[0] for batch in batches]
    if not arrays:
        return None
    head = np.concatenate([each for each in arrays if each.shape[1:] == arrays[0].shape[1:]])
    return head.transpose(0, 3, 1, 2) if recognise_layout(head.shape, head.dtype) == "nhwc" else head


def try_all(
    runner: Runner,
    trial: PreparationTrial,
    progress: Callable[[int, int], None] | None = None,
    *,
    shapes: bool = False,
) -> Preparations:
    """All candidates, best first. Raises InputError where no layer has statistics to fit.

    With `shapes` the best of them are also tried on images that are cut, resized or read otherwise.
    """
    trials: list[Tried] = []

    def attempt(candidate: PreparationCandidate) -> Tried:
        answers = candidate.option == trial.used
        return try_one(runner, candidate, trial.open(candidate, TRIAL_SAMPLES), answers=answers)

    for index, candidate in enumerate(trial.candidates):
        trials.append(attempt(candidate))
        if progress is not None:
            progress(index + 1, len(trial.candidates))
    trials += _unlisted(attempt, trials, runner, trial, shapes=shapes)
    near = in_the_running([each.fit for each in trials])
    finalists = [try_one(runner, each, trial.open(each, SAMPLES)) for each in (trials[i].candidate for i in near)]
    fits = [each.fit for each in finalists]
    order = ranked(fits)
    best = [_ranked(finalists[index], worse) for index, worse in order]
    others = sorted((trials[index] for index in range(len(trials)) if index not in near), key=lambda each: each.drift)
    rows = (*best, *(_ranked(each, "drift") for each in others))
    sure = surely_best(fits, order[0][0]) and _had_rivals(finalists[order[0][0]], trials)
    fitting = tuple(each.option for each in rows if _fits(rows[0]) and each.behind is None and each.drift < FITS)
    sure = sure and (trial.used not in fitting or trial.used == fitting[0])
    winner = fitting[0] if fitting and sure else None
    return Preparations(trial.used, trials[0].layers, rows, fitting, winner)


def _had_rivals(first: Tried, trials: Sequence[Tried]) -> bool:
    """Whether what normalizes each image by itself was held against one scale and shift for all of them."""
    if first.candidate.numbers_from != "images":
        return True
    return any(each.candidate.numbers_from == "statistics" for each in trials)


def _fits(row: RankedPreparation) -> bool:
    return row.drift < FITS and (row.answers_changed is None or row.answers_changed <= MOST_CHANGED)


def _unlisted(
    attempt: Attempt, trials: Sequence[Tried], runner: Runner, trial: PreparationTrial, *, shapes: bool
) -> list[Tried]:
    """What clearly fits better than all that is listed: a fitted scale and shift, and with `shapes` other images."""
    probes = list(trial.open(trial.with_kept(RAW), PROBE_SAMPLES))
    fitted = fitted_ones(attempt, trials, map(trial.with_kept, fitted_candidates(runner, probes)))
    if not shapes:
        return fitted
    return [*fitted, *reshaped_ones(attempt, trials, lambda base: {**trial.fits, **shape_changes(base, trial.head)})]


def _ranked(tried: Tried, worse_by: str | None) -> RankedPreparation:
    fit = tried.fit
    return RankedPreparation(
        tried.candidate.option,
        tried.candidate.meaning,
        fit.drift.whole,
        fit.drift.se,
        None if fit.entropy is None else fit.entropy.whole,
        None if fit.entropy is None else fit.entropy.se,
        fit.changed,
        worse_by,
        tried.candidate.listed,
        tried.candidate.numbers_from,
    )


def _opened(
    data: Sequence[str], options: DataOptions, inputs: Sequence[InputSpec], option: str, samples: int
) -> Iterable[Batch]:
    most = min(samples, options.max_samples or samples)
    return open_data(data, replace(options, preprocess=option, max_samples=most), inputs)


def worth_trying(report: Report) -> bool:
    """Whether another preparation may be what is missing: the first layer drifts, and answers would change."""
    rows = [each.own or each.drift for each in report.layers if each.layer.kind == "batch_norm"]
    drift = next((each.lower for each in rows if each is not None), 0.0)
    change = report.recalibration.change if report.recalibration is not None else None
    usable = report.data is not None and not report.data.random and not report.interrupted
    changes = change is not None and ((change.answers_changed or 0.0) > SOME_ANSWERS or gained(change) > SURELY)
    return usable and (drift > LOUD or (drift > QUIET and changes))


def with_preparations(
    report: Report,
    model: Model,
    runner: Runner,
    source: DataSource | GivenBatches | Streaming,
    data: Sequence[str],
    options: DataOptions,
) -> Report:
    """The report with what other preparations of the input would do, where they are worth trying and can be tried."""
    once = isinstance(source, GivenBatches) and iter(source.batches) is source.batches
    if once or isinstance(source, Streaming) or len(model.inputs) > 1 or not worth_trying(report):
        return report
    with suppress(InputError):
        return replace(report, preparations=try_all(runner, prepare_trial(source, data, options, model.inputs)))
    return report
