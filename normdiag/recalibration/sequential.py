"""Each layer measured after repaired ones: as deployed, the statistics put in over and over until they settle.

A pass measures all layers with the statistics of the pass before. A layer whose predecessors are right is right after
it: so the first layers are right at once, those after them one pass later, and all of them after as many passes as
layers hang on each other. Begun with batch statistics, they settle long before, to within what sampling leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from operator import add

import numpy as np

from normdiag.metrics.population import Population, statistics_drift
from normdiag.observe.protocol import ReplacedStatistics
from normdiag.ranks import ALONE, Ranks, together
from normdiag.recalibration.choose import pooled
from normdiag.recalibration.hold_out import HoldOut
from normdiag.recalibration.measure import EPS, Measured, Progress, measure
from normdiag.recalibration.target import Recalibratable
from normdiag.records import Batch

# A layer has settled when a pass moves its statistics by less than this share of their sampling error, or these
# standard deviations.
SHARE, LEAST = 0.01, 1e-6

Blend = Callable[[Measured], Mapping[str, ReplacedStatistics]]


def settle(
    target: Recalibratable,
    batches: Iterable[Batch],
    share: float,
    first: Measured,
    new: Blend,
    ranks: Ranks = ALONE,
    progress: Progress | None = None,
) -> tuple[Measured, int]:
    """What is measured in the end, and the number of passes with the first one.

    `batches` can be read again; `share` of them is held out each time. `new` makes statistics of measurements.
    """
    measured, passes = first, 1
    for _ in range(len(first.sums) + 1):
        statistics = new(measured)
        runner = target.changed(statistics)
        again = partial(measure, runner, batches, batch_statistics=False, progress=progress)
        found = together(ranks, partial(again, HoldOut(share)), add)
        before, passes = measured, passes + 1
        measured = pooled(target, replace(found, stored=first.layers))
        if _settled(before.populations, measured.populations, statistics.keys()):
            break
    return measured, passes


def _settled(before: Mapping[str, Population], after: Mapping[str, Population], layers: Iterable[str]) -> bool:
    moves = ((statistics_drift(before[name].mean, before[name].var, after[name], EPS), after[name]) for name in layers)
    return all(not move > max(SHARE * found.error, LEAST) or not np.isfinite(move) for move, found in moves)
