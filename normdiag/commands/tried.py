"""One preparation of the input tried: what the first norm layers and the outputs show of the samples so prepared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from normdiag.commands.measure import all_statistics
from normdiag.data.candidates import PreparationCandidate
from normdiag.errors import InputError
from normdiag.metrics import measure_layers
from normdiag.metrics.gap import output_change
from normdiag.metrics.preparation import Figure, Fit, drift_figure, entropies, entropy_figure
from normdiag.observe import passes
from normdiag.observe.gap import class_scores
from normdiag.observe.protocol import Runner
from normdiag.records import Batch, Evidence, NormLayer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Norm layers from the input on that are looked at: there the preparation shows before anything else mixes in.
FIRST = 3


@dataclass(frozen=True, eq=False)
class Tried:
    """A candidate with what it showed."""

    candidate: PreparationCandidate
    fit: Fit
    layers: tuple[str, ...]

    @property
    def drift(self) -> float:
        """Of the first layers; infinite where it is no number."""
        drift = self.fit.drift.whole
        return math.inf if math.isnan(drift) else drift


def try_one(
    runner: Runner, candidate: PreparationCandidate, batches: Iterable[Batch], *, answers: bool = True
) -> Tried:
    """The candidate, of which these are the batches. Raises InputError where no layer has statistics to fit.

    Without `answers` it is not measured, for one more run, how many the data's own statistics would change.
    """
    seen = passes.observe(runner, batches)
    chosen = _chosen(runner.layers(), seen.evidence)
    if not chosen:
        raise InputError("the model has no running statistics, so that nothing says how its input was prepared")
    pairs = [(layer, sums) for layer in chosen if (sums := seen.evidence.layers[layer.name].deployed) is not None]
    entropy, classes = _entropy(seen.held)
    fit = Fit(
        drift_figure(pairs), entropy, classes, _changed(runner, seen) if answers else None, candidate.numbers_from
    )
    return Tried(candidate, fit, tuple(layer.name for layer in chosen))


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
