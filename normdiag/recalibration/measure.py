"""Running the data through the model and keeping sums: until it ends, or until they say enough."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from normdiag.metrics.population import Population, population
from normdiag.observe.passes import fit
from normdiag.observe.protocol import Runner
from normdiag.observe.sums import finite_shift
from normdiag.ranks import merged
from normdiag.recalibration.hold_out import HoldOut, joined
from normdiag.records import Batch, NormLayer
from normdiag.records.recalibration import PopulationSums

EPS = 1e-5  # of a layer that does not say its own
# Samples seen, and the error of the layer that is least known.
Progress = Callable[[int, float], None]


@dataclass(frozen=True, eq=False)
class Measured:
    """The sums of every layer with running statistics, and over how many samples, in batches of up to how many.

    `layers` are as they ran, the sums being about their means; `stored` as the model has them, if it ran with others.
    """

    sums: Mapping[str, PopulationSums]
    layers: tuple[NormLayer, ...]
    samples: int
    batch_size: int
    stored: tuple[NormLayer, ...] | None = None

    @property
    def model_layers(self) -> tuple[NormLayer, ...]:
        """The layers with the statistics that the model has."""
        return self.layers if self.stored is None else self.stored

    def __add__(self, other: Measured) -> Measured:
        """What two processes measured of the same model."""
        one, two = (self, other) if self.samples else (other, self)  # which knows the order in which layers run
        sums, size = merged(self.sums, other.sums), max(self.batch_size, other.batch_size)
        return Measured(sums, one.layers, one.samples + two.samples, size)

    @cached_property
    def populations(self) -> dict[str, Population]:
        """What was measured of each layer, by name."""
        return populations(self.layers, self.sums)


def populations(layers: Iterable[NormLayer], sums: Mapping[str, PopulationSums]) -> dict[str, Population]:
    """The statistics of each layer that was seen, by name."""
    seen = [layer for layer in layers if layer.name in sums]
    return {each.name: population(sums[each.name], _shift(each), each.kind, each.eps or EPS) for each in seen}


def _shift(layer: NormLayer) -> NDArray[np.float64]:
    return np.zeros(1) if layer.running_mean is None else finite_shift(layer.running_mean)


def measure(
    runner: Runner,
    batches: Iterable[Batch],
    hold: HoldOut,
    *,
    batch_statistics: bool = True,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Sum up what every layer sees of the samples that are not held out.

    Stops early where every error is below `tolerance`. Raises InputError where the data does not fit the model.
    """
    sums: dict[str, PopulationSums] = {}
    samples = largest = index = 0
    whole = runner.fixed_batch is not None
    stream = fit(batches, runner) if whole else joined(batches)
    for batch in stream:
        left = hold.take(batch, whole=whole)
        if left is None:
            continue
        left = replace(left, first=samples, index=index)
        for name, seen in runner.population(left, batch_statistics=batch_statistics).items():
            sums[name] = sums[name] + seen if name in sums else seen
        samples, largest, index = samples + left.size, max(largest, left.size), index + 1
        if progress is None and tolerance is None:
            continue
        worst = max((each.error for each in populations(runner.layers(), sums).values()), default=0.0)
        if progress is not None:
            progress(samples + hold.samples, worst)
        if tolerance is not None and worst <= tolerance:
            break
    return Measured(sums, runner.layers(), samples, largest)
