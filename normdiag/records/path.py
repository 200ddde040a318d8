"""The straight line between the weights of two checkpoints: loss and accuracy along it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PathPoint:
    """The model with the weights (1 - t) A + t B.

    `loss` is the mean cross-entropy in nats and `accuracy` the share of right answers with the running statistics
    interpolated like the weights; `recalibrated_loss` and `recalibrated_accuracy` with those measured anew on the data
    for these weights: the same where the model has no running statistics.
    """

    t: float
    loss: float
    accuracy: float
    recalibrated_loss: float
    recalibrated_accuracy: float


@dataclass(frozen=True)
class PathReport:
    """The points in order from `start` to `end`, all on the same labelled samples.

    `layers` counts those whose statistics were measured anew.
    """

    start: str
    end: str
    points: tuple[PathPoint, ...]
    layers: int
    source: str
    samples: int
    notes: tuple[str, ...] = ()

    @property
    def barrier(self) -> float:
        """How far the loss rises above the straight line between its ends (Entezari et al. 2022), interpolated."""
        return _barrier([(each.t, each.loss) for each in self.points])

    @property
    def recalibrated_barrier(self) -> float:
        """The same with statistics recalibrated at every point."""
        return _barrier([(each.t, each.recalibrated_loss) for each in self.points])


def _barrier(losses: Sequence[tuple[float, float]]) -> float:
    first, last = losses[0][1], losses[-1][1]
    return float(np.max([loss - ((1.0 - t) * first + t * last) for t, loss in losses]))  # NaN where one is
