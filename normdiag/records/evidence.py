"""What was seen of the data: only sums, so that evidence of two batches, files or machines is their sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from normdiag.records.channel_sums import ChannelSums, Span
from normdiag.records.profile import Point, PointSums

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

# Variances are counted in bins of a sixteenth of an octave from 2^-150 (below the smallest float32) to 2^130.
BINS_PER_OCTAVE = 16
LOWEST_OCTAVE = -150
VARIANCE_BINS = (130 - LOWEST_OCTAVE) * BINS_PER_OCTAVE


@dataclass(frozen=True, eq=False)
class GroupSums:
    """What LayerNorm, RMSNorm, GroupNorm and InstanceNorm see: moments of the groups that they normalize over.

    `variance_counts` (VARIANCE_BINS,) counts groups by variance (RMSNorm: mean square), `channel_squares` (C,)
    is the sum of x^2 per channel or feature over `channel_count` values each, `abs_max` the largest |x|.
    """

    group_size: int
    variance_min: float
    variance_counts: Counts
    abs_max: float
    channel_squares: Floats
    channel_count: int

    @classmethod
    def of(
        cls,
        variances: NDArray[Any],
        channel_squares: NDArray[Any],
        *,
        group_size: int,
        channel_count: int,
        abs_max: float,
    ) -> GroupSums:
        """The sums of one batch from the variance of every group (any shape) and the sums of squares per channel."""
        flat = np.asarray(variances, np.float64).ravel()
        squares = np.asarray(channel_squares, np.float64)
        minimum = float(flat.min()) if flat.size else np.inf
        return cls(group_size, minimum, count_variances(flat), float(abs_max), squares, channel_count)

    def __add__(self, other: GroupSums) -> GroupSums:
        return GroupSums(
            min(self.group_size, other.group_size),
            float(np.minimum(self.variance_min, other.variance_min)),
            self.variance_counts + other.variance_counts,
            float(np.maximum(self.abs_max, other.abs_max)),
            self.channel_squares + other.channel_squares,
            self.channel_count + other.channel_count,
        )


@dataclass(frozen=True)
class Sampled:
    """How many values of an activation were looked at, `of` how many, and the variances that this leaves to the sums of
    its saturated values (0 where those were counted) and of its squared derivatives.
    """

    values: int
    of: int
    saturated_variance: float
    square_variance: float

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

    `derivative_square` is the sum of f'(x)^2 over all U * elements values. A unit is a channel or feature. `final`
    marks an activation whose output is the model's. Where `sampled` is set, the squares are an estimate from some of
    the values, and so is `saturated`, unless its variance is 0; `responsive` (U,) then tells the units of which some
    value, any at all, was outside the tails.
    """

    kind: str
    elements: int
    saturated: NDArray[Any]
    derivative_square: float
    final: bool = False
    sampled: Sampled | None = None
    responsive: NDArray[np.bool_] | None = None

    @property
    def dead(self) -> NDArray[np.bool_]:
        """(U,): the units of which every value was saturated; exact in any case."""
        return self.saturated == self.elements if self.responsive is None else ~self.responsive

    def __add__(self, other: ActivationSums) -> ActivationSums:
        a, b = (self, other) if len(self.saturated) == len(other.saturated) else (self.pooled(), other.pooled())
        known = a.responsive is None and b.responsive is None
        return ActivationSums(
            a.kind,
            a.elements + b.elements,
            a.saturated + b.saturated,
            a.derivative_square + b.derivative_square,
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
        return Sampled(values, values, 0.0, 0.0) if self.sampled is None else self.sampled


@dataclass(frozen=True, eq=False)
class OutputSums:
    """One output under some statistics (reference, y) against the same under others (y').

    `table` (PARTS, 7) holds by part the number of rows, the sums over all elements of (y' - y)^2 and of y^2 and, for
    outputs of shape (N, K), the number of rows that are scores of classes, of those whose argmax differs, the sum of
    the Jensen-Shannon divergences in nats, and that of how much more decided y' is than y. `answers` (K,) counts the
    samples by the argmax of y; None for other outputs.
    """

    table: Floats
    answers: Counts | None = None

    @classmethod
    def of(
        cls,
        difference_square: NDArray[Any],
        reference_square: NDArray[Any],
        differs: NDArray[Any] | None = None,
        divergence: NDArray[Any] | None = None,
        span: Span | None = None,
        decided: NDArray[Any] | None = None,
        answers: Counts | None = None,
    ) -> OutputSums:
        """The sums of one batch from its rows: squares (N,) and, for scores of classes, what differs in each (N,)."""
        nothing, ones = np.zeros(len(difference_square)), np.ones(len(difference_square))
        scores = (nothing, nothing, nothing) if differs is None or divergence is None else (ones, differs, divergence)
        more = nothing if decided is None else decided
        rows = np.stack([ones, difference_square, reference_square, *scores, more], 1)
        return cls((span or Span(0, len(rows))).sums(rows), answers)

    @property
    def difference_square(self) -> float:
        """The sum over all elements of (y' - y)^2."""
        return float(self.table[:, 1].sum())

    @property
    def reference_square(self) -> float:
        """The sum over all elements of y^2."""
        return float(self.table[:, 2].sum())

    @property
    def rows(self) -> int:
        """Samples with scores of classes."""
        return int(self.table[:, 3].sum())

    @property
    def disagreements(self) -> int:
        """Those of them whose argmax differs."""
        return int(self.table[:, 4].sum())

    @property
    def divergence(self) -> float:
        """The sum of their Jensen-Shannon divergences in nats."""
        return float(self.table[:, 5].sum())

    def __add__(self, other: OutputSums) -> OutputSums:
        alike = self.answers is not None and other.answers is not None and len(self.answers) == len(other.answers)
        answers = self.answers + other.answers if alike else None  # type: ignore[operator]
        return OutputSums(self.table + other.table, answers)


@dataclass(frozen=True, eq=False)
class LayerEvidence:
    """One normalization layer: `deployed` sums of pass E, `own` sums of pass B, `groups` sums of pass E.

    `calls` counts the times that the layer ran in pass E.
    """

    calls: int = 0
    deployed: ChannelSums | None = None
    own: ChannelSums | None = None
    groups: GroupSums | None = None

    def __add__(self, other: LayerEvidence) -> LayerEvidence:
        return LayerEvidence(
            self.calls + other.calls,
            _either(self.deployed, other.deployed),
            _either(self.own, other.own),
            _either(self.groups, other.groups),
        )


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that was seen. Mappings go by layer, activation or output name, in network order.

    `batch_size` is the largest number of samples that ran together; `gap_samples` counts the samples of pass B.
    `points` are there where they were asked for.
    """

    samples: int = 0
    batches: int = 0
    batch_size: int = 0
    gap_samples: int = 0
    layers: Mapping[str, LayerEvidence] = field(default_factory=dict)
    activations: Mapping[str, ActivationSums] = field(default_factory=dict)
    outputs: Mapping[str, OutputSums] = field(default_factory=dict)
    points: Mapping[Point, PointSums] = field(default_factory=dict)

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(
            self.samples + other.samples,
            self.batches + other.batches,
            max(self.batch_size, other.batch_size),
            self.gap_samples + other.gap_samples,
            _merge(self.layers, other.layers),
            _merge(self.activations, other.activations),
            _merge(self.outputs, other.outputs),
            _merge(self.points, other.points),
        )


def count_variances(variances: Floats) -> Counts:
    """Histogram (VARIANCE_BINS,) of non-negative variances on a log2 scale; zeros go into the lowest bin."""
    positive = np.maximum(np.nan_to_num(variances, nan=0.0), 2.0**LOWEST_OCTAVE)
    index = np.floor((np.log2(positive) - LOWEST_OCTAVE) * BINS_PER_OCTAVE).astype(np.int64)
    return np.bincount(index.clip(0, VARIANCE_BINS - 1), minlength=VARIANCE_BINS).astype(np.int64)


T = TypeVar("T", ChannelSums, GroupSums)
K = TypeVar("K")
V = TypeVar("V", LayerEvidence, ActivationSums, OutputSums, PointSums)


def _either(a: T | None, b: T | None) -> T | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b


def _merge(a: Mapping[K, V], b: Mapping[K, V]) -> dict[K, V]:
    merged = dict(a)
    for name, value in b.items():
        merged[name] = merged[name] + value if name in merged else value
    return merged
