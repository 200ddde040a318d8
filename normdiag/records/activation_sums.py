"""What is seen of an activation, as sums in parts of the samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.records.channel_sums import Span

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sampled:
    """How many values of an activation were looked at, and `of` how many.

    The variances are those of the sums of saturated values and of squared derivatives that come from looking at the
    same places in all samples of a batch: what the scatter of samples does not show.
    """

    values: int
    of: int
    saturated_variance: float = 0.0
    square_variance: float = 0.0

    def __add__(self, other: Sampled) -> Sampled:
        return Sampled(
            self.values + other.values,
            self.of + other.of,
            self.saturated_variance + other.saturated_variance,
            self.square_variance + other.square_variance,
        )


@dataclass(frozen=True, eq=False)
class ActivationSums:
    """One activation: `saturated` (U,) counts, per unit, the values in its saturated tails, of `elements` each.

    A unit is a channel or feature. `table` (PARTS, 4) holds by part of the samples a number of values and how many of
    these are saturated, and a number of values and the sum of their f'(x)^2. `final` marks an activation whose output
    is the model's. Where `sampled` is set, the squares are an estimate from some of the values, and so is `saturated`,
    unless that was counted; `responsive` (U,) then tells the units of which some value, any at all, was outside the
    tails.
    """

    kind: str
    elements: int
    saturated: NDArray[Any]
    table: Floats
    final: bool = False
    sampled: Sampled | None = None
    responsive: NDArray[np.bool_] | None = None

    @classmethod
    def of(
        cls, kind: str, elements: int, saturated: NDArray[Any], squares: NDArray[Any], span: Span | None = None
    ) -> ActivationSums:
        """From all values of one batch: (rows, U) saturated ones and (rows,) squares, in rows sample by sample."""
        span = span or Span(0, len(saturated))
        values = np.full(len(saturated), elements * saturated.shape[1] / max(len(saturated), 1))
        rows = np.stack([values, saturated.sum(1), values, squares], 1)
        return cls(kind, elements, saturated.sum(0), span.sums(rows))

    @property
    def derivative_square(self) -> float:
        """The sum of f'(x)^2 over all U * elements values."""
        return float(self.table[:, 3].sum())

    @property
    def dead(self) -> NDArray[np.bool_]:
        """(U,): the units of which every value was saturated; exact in any case."""
        return self.saturated == self.elements if self.responsive is None else ~self.responsive

    def counted(self, outside: NDArray[np.int64], span: Span) -> ActivationSums:
        """With the saturated values (rows, U), in rows sample by sample, counted on all of them."""
        values = np.full(len(outside), self.elements * outside.shape[1] / max(len(outside), 1))
        by_part = span.sums(np.stack([values, outside.sum(1)], 1))
        total = outside.sum(0)
        return replace(
            self,
            saturated=total,
            table=np.concatenate([by_part, self.table[:, 2:]], 1),
            sampled=None if self.sampled is None else replace(self.sampled, saturated_variance=0.0),
            responsive=None if self.sampled is None else total < self.elements,
        )

    def __add__(self, other: ActivationSums) -> ActivationSums:
        a, b = (self, other) if len(self.saturated) == len(other.saturated) else (self.pooled(), other.pooled())
        known = a.responsive is None and b.responsive is None
        return ActivationSums(
            a.kind,
            a.elements + b.elements,
            a.saturated + b.saturated,
            a.table + b.table,
            a.final or b.final,
            None if a.sampled is None and b.sampled is None else a._look + b._look,
            None if known else ~(a.dead & b.dead),
        )

    def pooled(self) -> ActivationSums:
        """All units as one: the only common ground of batches whose number of units differs."""
        responsive = None if self.responsive is None else np.array([self.responsive.any()])
        return replace(
            self,
            elements=self.elements * len(self.saturated),
            saturated=self.saturated.sum(keepdims=True),
            responsive=responsive,
        )

    @property
    def _look(self) -> Sampled:
        values = self.elements * len(self.saturated)
        return Sampled(values, values) if self.sampled is None else self.sampled
