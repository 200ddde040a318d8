"""What a backend offers to be observed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from normdiag.records import Batch, Evidence, NormLayer, Point, PointSums
from normdiag.records.precision import NormRows
from normdiag.records.recalibration import PopulationSums

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class ReplacedStatistics:
    """Mean and variance of a layer's input per channel: float64 arrays of shape (C,)."""

    mean: NDArray[np.float64]
    var: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SeenBatch:
    """One batch: its evidence, and the outputs by name of pass E (`deployed`) and of pass B (`batched`, {} without)."""

    evidence: Evidence
    deployed: Outputs
    batched: Outputs


class Runner(Protocol):
    """A loaded model that can be run with its normalization layers and activations watched.

    Every method raises InputError where the data does not fit the model. The model is left as it was found.
    """

    @property
    def fixed_batch(self) -> int | None:
        """The only batch size that the model accepts, or None."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be watched or measured, one sentence each; complete after the first observe()."""

    def layers(self) -> tuple[NormLayer, ...]:
        """The normalization layers in the order in which they ran; complete after the first observe()."""

    def run(self, batch: Batch) -> SeenBatch:
        """Pass E and, with two samples or more and a BatchNorm to replace, pass B of one batch."""

    def observe(self, batch: Batch) -> Evidence:
        """What `run` sees, as sums alone."""

    def population(self, batch: Batch, *, batch_statistics: bool = True) -> Mapping[str, PopulationSums]:
        """Of every layer with running statistics, sums about `finite_shift` of its mean: of pass B, or as deployed.

        In pass B here an InstanceNorm normalizes each sample by itself. It costs little more than one plain forward.
        """

    def points(self, batch: Batch) -> Mapping[Point, PointSums]:
        """Sums of the inputs, of what enters norms and activations as deployed, in order, and of the outputs."""

    def norm_rows(self, batch: Batch) -> Mapping[str, NormRows]:
        """The groups that the norms other than BatchNorm normalize, whole, by layer: for a few samples."""

    def outputs(
        self,
        batch: Batch,
        *,
        batch_statistics: bool = False,
        statistics: Mapping[str, ReplacedStatistics] | None = None,
    ) -> Outputs:
        """The outputs by name: as deployed, as in pass B, or with the statistics of the named layers replaced."""
