"""The same samples through a model in every usual preparation, ranked by how well the stored statistics fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from normdiag.commands.fitted import fitted_candidate
from normdiag.commands.measure import all_statistics
from normdiag.commands.sources import GivenBatches, Streaming, first_batches
from normdiag.data import DataOptions
from normdiag.data.candidates import PreparationCandidate, candidates, reshaped_candidate, shape_changes
from normdiag.data.join import reprepared
from normdiag.data.preprocess import is_pixels, recognise_layout
from normdiag.data.recipe import parse_recipe
from normdiag.data.source import DataSource, open_data
from normdiag.errors import InputError
from normdiag.metrics import measure_layers
from normdiag.metrics.gap import output_change
from normdiag.metrics.preparation import (
    Figure,
    Fit,
    clearly_better,
    drift_figure,
    entropies,
    entropy_figure,
    in_the_running,
    ranked,
    surely_first,
)
from normdiag.observe import passes
from normdiag.observe.gap import class_scores
from normdiag.observe.protocol import Runner
from normdiag.records import Batch, Evidence, InputSpec, Model, NormLayer, Preparations, RankedPreparation, Report
from normdiag.rules.nd308_other_answers import gained

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Norm layers from the input on that are looked at: there the preparation shows before anything else mixes in.
FIRST = 3
# All are tried on a few samples, and those that may be best on more.
TRIAL_SAMPLES, SAMPLES = 64, 256
PROBE_SAMPLES = 32
# So many of those with the least drift are tried on images that are cut, resized or read otherwise, too.
BASES = 2
# A drift of the first layers beyond this fits no preparation: the statistics, or the images, are others.
FITS = 0.6
RAW = PreparationCandidate("raw", "as it is stored")
# Drift of the first layer at which an inspection tries other preparations: by itself, or where answers would change.
LOUD, QUIET, SOME_ANSWERS = 0.3, 0.1, 0.05
# Healthy networks become more decided with the data's own statistics by at most 2.2 standard errors.
SURELY = 5.0

Opener = Callable[[PreparationCandidate, int], Iterable[Batch]]


@dataclass(frozen=True, eq=False)
class Tried:
    """A candidate with what it showed; `changed` is the share of answers that its own statistics would change."""

    candidate: PreparationCandidate
    fit: Fit
    layers: tuple[str, ...]
    changed: float | None = None


@dataclass(frozen=True, eq=False)
class PreparationTrial:
    """What there is to try: the candidates, the option in use, and what reads so many samples in one of them.

    `head` are the first samples as they are stored.
    """

    candidates: tuple[PreparationCandidate, ...]
    used: str
    open: Opener
    head: NDArray[Any]


def prepare_trial(
    source: DataSource | GivenBatches | Streaming,
    data: Sequence[str],
    options: DataOptions,
    inputs: Sequence[InputSpec],
) -> PreparationTrial:
    """What to try on this data. Raises InputError where there are no samples."""
    options = replace(options, max_samples=None)
    if not data:
        batches = list(first_batches(iter(source), SAMPLES))
        head = batches[0].arrays[0] if batches else None

        def opener(candidate: PreparationCandidate, samples: int) -> Iterator[Batch]:
            recipe = parse_recipe(candidate.option)
            return (reprepared(batch, recipe, inputs) for batch in first_batches(batches, samples))

    else:
        head = next((batch.arrays[0] for batch in _opened(data, options, inputs, "raw", TRIAL_SAMPLES)), None)

        def opener(candidate: PreparationCandidate, samples: int) -> Iterator[Batch]:
            return iter(_opened(data, options, inputs, candidate.option, samples))

    if head is None:
        raise InputError(f"{source.info.source}: holds no samples")
    used = options.preprocess or ("unit" if source.info.pixels else "raw")
    pixels = source.info.pixels or is_pixels(head.dtype)
    if not data and recognise_layout(head.shape, head.dtype) == "nhwc":  # as it is stored
        head = head.transpose(0, 3, 1, 2)
    return PreparationTrial(candidates(head, pixels=pixels, used=used), used, opener, head)


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
    trials = []
    for index, candidate in enumerate(trial.candidates):
        trials.append(_tried(runner, candidate, trial.open(candidate, TRIAL_SAMPLES)))
        if progress is not None:
            progress(index + 1, len(trial.candidates))
    opener = trial.open
    trials += [*_fitted(runner, trials, opener), *(_with_shapes(runner, trials, trial) if shapes else ())]
    near = in_the_running([each.fit for each in trials])
    finalists = [_tried(runner, trials[index].candidate, opener(trials[index].candidate, SAMPLES)) for index in near]
    fits = [each.fit for each in finalists]
    order = ranked(fits)
    best = [_ranked(finalists[index], worse) for index, worse in order]
    others = sorted((trials[index] for index in range(len(trials)) if index not in near), key=_drift)
    rows = (*best, *(_ranked(each, "drift") for each in others))
    sure = surely_first(fits, [index for index, worse in order if worse is None])
    fitting = tuple(each.option for each in rows if each.behind is None and each.drift < FITS)
    winner = trial.used if trial.used in fitting else fitting[0] if fitting and sure else None
    return Preparations(trial.used, trials[0].layers, rows, fitting, winner)


def _fitted(runner: Runner, trials: Sequence[Tried], opener: Opener) -> list[Tried]:
    """A scale and shift for each channel, fitted to the first norm layer, where it fits clearly better than the rest.

    Having a number for each channel to choose it always fits a little better than what is right.
    """
    found = fitted_candidate(runner, list(opener(RAW, PROBE_SAMPLES)))
    if found is None:
        return []
    tried = _tried(runner, found, opener(found, TRIAL_SAMPLES))
    return [tried] if clearly_better(tried.fit, [each.fit for each in trials]) else []


def _with_shapes(runner: Runner, trials: Sequence[Tried], trial: PreparationTrial) -> list[Tried]:
    """All preparations of images that were cut, resized or read otherwise, in the way that clearly fits best; or none.

    Training with crops makes images that are cut or coarser drift a little less than what is right.
    """
    found = [
        (key, words, _tried(runner, reshaped, trial.open(reshaped, TRIAL_SAMPLES)))
        for base in sorted(trials, key=_drift)[:BASES]
        for key, words in shape_changes(base.candidate, trial.head).items()
        for reshaped in (reshaped_candidate(base.candidate, key, words),)
    ]
    if not found:
        return []
    key, words, best = min(found, key=lambda each: _drift(each[2]))
    if not clearly_better(best.fit, [each.fit for each in trials]):
        return []
    others = [each.candidate for each in trials if f"{each.candidate.option},{key}" != best.candidate.option]
    again = (reshaped_candidate(each, key, words) for each in others if "grey" not in key or "order" not in each.option)
    return [best, *(_tried(runner, each, trial.open(each, TRIAL_SAMPLES)) for each in again)]


def _tried(runner: Runner, candidate: PreparationCandidate, batches: Iterable[Batch]) -> Tried:
    seen = passes.observe(runner, batches)
    chosen = _chosen(runner.layers(), seen.evidence)
    if not chosen:
        raise InputError("the model has no running statistics, so that nothing says how its input was prepared")
    pairs = [(layer, sums) for layer in chosen if (sums := seen.evidence.layers[layer.name].deployed) is not None]
    entropy, classes = _entropy(seen.held)
    fit = Fit(drift_figure(pairs), entropy, classes)
    return Tried(candidate, fit, tuple(layer.name for layer in chosen), _changed(runner, seen))


def _chosen(layers: Sequence[NormLayer], evidence: Evidence) -> list[NormLayer]:
    """The first norm layers with statistics, in the order in which they ran."""
    seen = (each for each in layers if each.has_statistics and each.name in evidence.layers)
    return list(islice((each for each in seen if evidence.layers[each.name].deployed is not None), FIRST))


def _entropy(held: Sequence[passes.Held]) -> tuple[Figure | None, int]:
    """The mean entropy of the first output that holds scores of classes, and how many classes these are."""
    import numpy as np

    for name in held[0].deployed if held else ():
        scores = [_scores(each, name) for each in held]
        known = [each for each in scores if each is not None]
        if len(known) == len(scores):
            rows = np.concatenate(known)
            return entropy_figure(entropies(rows)), rows.shape[1]
    return None, 0


def _scores(held: passes.Held, name: str) -> NDArray[np.float64] | None:
    """An output as scores of classes, one row for each sample; None for anything else, as boxes of detections."""
    output = held.deployed.get(name)
    return class_scores(output) if output is not None and output.shape[:1] == (held.batch.size,) else None


def _changed(runner: Runner, seen: passes.Observation) -> float | None:
    """The share of samples whose class changes when the data's own statistics replace the stored ones."""
    statistics = all_statistics(measure_layers(runner.layers(), seen.evidence), seen.evidence)
    if not statistics or not seen.held:
        return None
    change = passes.recalibrated(runner, seen.held, statistics).change
    return next((each.answers_changed for each in map(output_change, change.values())), None)


def _ranked(tried: Tried, worse_by: str | None) -> RankedPreparation:
    fit = tried.fit
    return RankedPreparation(
        tried.candidate.option,
        tried.candidate.meaning,
        fit.drift.whole,
        fit.drift.se,
        None if fit.entropy is None else fit.entropy.whole,
        None if fit.entropy is None else fit.entropy.se,
        tried.changed,
        worse_by,
        tried.candidate.listed,
    )


def _drift(tried: Tried) -> float:
    drift = tried.fit.drift.whole
    return math.inf if math.isnan(drift) else drift


def _opened(
    data: Sequence[str], options: DataOptions, inputs: Sequence[InputSpec], option: str, samples: int
) -> Iterable[Batch]:
    return open_data(data, replace(options, preprocess=option, max_samples=samples), inputs)


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
