"""Which of several known architectures weights belong to: the one whose stored statistics fit the data."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from normdiag.commands.example import RANDOM
from normdiag.commands.measure import open_runner
from normdiag.commands.sources import first_batches, open_source
from normdiag.data import AUTO, DataOptions
from normdiag.errors import InputError
from normdiag.graph import open_model
from normdiag.metrics.preparation import Figure, Fit, drift_figure, surely_first
from normdiag.models import LoadOptions
from normdiag.observe import passes
from normdiag.ops import SATURATION_THRESHOLD
from normdiag.records import Batch, Model

SAMPLES = 64
# More than so many are not tried: the wrong ones cost as much as the right one.
MOST = 4
# Of the stored deviation: beyond it the data, or the statistics, are others, and fit none of them. What differs by less
# than the second is not told apart, whatever the error bars say.
FITS, APART = 0.6, 0.05


def as_data_fits(
    model: Model,
    reading: LoadOptions | None,
    batches: Iterable[Any] | None,
    data: Sequence[str],
    options: DataOptions,
    device: str | None = None,
) -> Model:
    """The model; one whose weights fit several known architectures built as the one that the data fits best.

    Architectures with the same tensors differ in what holds none: padding, eps, a blur before the stride, the size of
    their images. Statistics that were gathered in one of them drift in the others. As it was where none is surely best,
    or none fits, and where the data is made up, can be read once only, or in a preparation that is still to be found.
    """
    once = batches is not None and iter(batches) is batches
    known = (batches is not None or data) and not once and tuple(data) != RANDOM and options.preprocess != AUTO
    if not known or model.info.path is None or len(model.fitting) < 2:
        return model

    def seen(each: Model, samples: int) -> list[Batch]:
        return list(first_batches(open_source(each, batches, data, options), samples))

    judged = any(layer.has_statistics for layer in model.layers)
    if model.program is not None and not judged and _takes(model, seen(model, 1), device):
        return model
    built = _all_built(model, reading)
    taking = [index for index, each in enumerate(built) if _takes(each, seen(each, 1), device)]
    if len(taking) == 1 and (model.program is None or taking != [0]):
        why = f"of {len(built)} with these tensors the only one that takes this data"
        return _chosen(model, built, taking[0], why)
    if not 2 <= len(taking) <= MOST or not judged:
        return model
    fits = [_fit(built[index], seen(built[index], SAMPLES), device) for index in taking]
    best = _surely_best(fits)
    if best is None:
        return model
    names = [model.fitting[index] for index in taking]
    return _chosen(model, built, taking[best], _comparison(names, fits, best))


def _all_built(model: Model, reading: LoadOptions | None) -> list[Model]:
    """The model as each of the architectures that its weights fit; none where one of them cannot be built here."""
    path, options = Path(model.info.path or ""), reading or LoadOptions()
    built = [open_model(path, replace(options, known_arch=name), run=True) for name in model.fitting]
    return [] if any(each.program is None for each in built) else built


def _chosen(model: Model, built: Sequence[Model], best: int, why: str) -> Model:
    words = (*model.reading, *shlex.split(model.run_with[best]))
    info = replace(built[best].info, built=f"{built[best].info.built}; {why}")
    return replace(built[best], info=info, reading=words)


def _takes(model: Model, batches: Iterable[Batch], device: str | None) -> bool:
    """Whether it runs on the first two samples."""
    try:
        passes.observe(open_runner(model, device, SATURATION_THRESHOLD), [each.rows(slice(0, 2)) for each in batches])
    except InputError:
        return False
    return True


def _comparison(names: Sequence[str], fits: Sequence[Fit], best: int) -> str:
    others = (f"{fits[i].drift.whole:.2f} as {name.replace(':', ' ')}" for i, name in enumerate(names) if i != best)
    drift = f"{fits[best].drift.whole:.2f}"
    return f"the data drifts by {drift} in it, by {' and by '.join(others)}, which has the same tensors"


def _fit(model: Model, batches: Iterable[Batch], device: str | None) -> Fit:
    runner = open_runner(model, device, SATURATION_THRESHOLD)
    evidence = passes.observe(runner, batches).evidence
    seen = ((layer, evidence.layers.get(layer.name)) for layer in runner.layers() if layer.has_statistics)
    pairs = [(layer, each.deployed) for layer, each in seen if each is not None and each.deployed is not None]
    return Fit(drift_figure(pairs), None)


def _surely_best(fits: Sequence[Fit]) -> int | None:
    order = sorted(range(len(fits)), key=lambda index: fits[index].drift.whole)
    first, second = (fits[index].drift for index in order[:2])
    apart = _difference(second, first) > APART
    return order[0] if first.whole < FITS and apart and surely_first(fits, order) else None


def _difference(one: Figure, other: Figure) -> float:
    return one.minus(other)[0]
