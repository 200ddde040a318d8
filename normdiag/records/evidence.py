"""What was seen of the data: only sums, so that evidence of two batches, files or machines is their sum (DESIGN, 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

# Variances are counted in bins of a sixteenth of an octave from 2^-150 (below the smallest float32) to 2^130.
BINS_PER_OCTAVE = 16
LOWEST_OCTAVE = -150
VARIANCE_BINS = (130 - LOWEST_OCTAVE) * BINS_PER_OCTAVE


@dataclass(frozen=True, eq=False)
class ChannelSums:
    """The five sums of a layer with C channels, over N samples: float64 arrays of shape (C,).

    For sample n, m_n is the mean over the channel's positions of (x - mu) and q_n that of (x - mu)^2, with mu the
    stored running_mean. Kept are the sums over the samples of m, q, m^2, q^2 and m*q.
    """

    count: int
    m: Floats
    q: Floats
    mm: Floats
    qq: Floats
    mq: Floats

    @classmethod
    def of(cls, m: NDArray[Any], q: NDArray[Any]) -> ChannelSums:
        """The sums of per-sample tables m and q, both of shape (N, C)."""
        m, q = np.asarray(m, np.float64), np.asarray(q, np.float64)
        return cls(len(m), m.sum(0), q.sum(0), (m * m).sum(0), (q * q).sum(0), (m * q).sum(0))

    def __add__(self, other: ChannelSums) -> ChannelSums:
        return ChannelSums(
            self.count + other.count,
            self.m + other.m,
            self.q + other.q,
            self.mm + other.mm,
            self.qq + other.qq,
            self.mq + other.mq,
        )


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


@dataclass(frozen=True, eq=False)
class ActivationSums:
    """One activation: `saturated` (U,) counts, per unit, the values outside the responsive range, of `elements` each.

    `derivative_square` is the sum of f'(x)^2 over all U * elements values. A unit is a channel or feature. `final`
    marks an activation whose output is the model's.
    """

    kind: str
    elements: int
    saturated: Counts
    derivative_square: float
    final: bool = False

    def __add__(self, other: ActivationSums) -> ActivationSums:
        a, b = (self, other) if len(self.saturated) == len(other.saturated) else (self.pooled(), other.pooled())
        return ActivationSums(
            a.kind,
            a.elements + b.elements,
            a.saturated + b.saturated,
            a.derivative_square + b.derivative_square,
            a.final or b.final,
        )

    def pooled(self) -> ActivationSums:
        """All units as one: the only common ground of batches whose number of units differs."""
        total = self.saturated.sum(keepdims=True)
        return ActivationSums(self.kind, self.elements * len(self.saturated), total, self.derivative_square, self.final)


@dataclass(frozen=True)
class OutputSums:
    """One output under running statistics (reference, y) against the same under batch statistics (y').

    Sums over all elements of (y' - y)^2 and y^2; for outputs of shape (N, K) also, over `rows` samples, the number
    whose argmax differs and the sum of the Jensen-Shannon divergences in nats.
    """

    difference_square: float
    reference_square: float
    rows: int = 0
    disagreements: int = 0
    divergence: float = 0.0

    def __add__(self, other: OutputSums) -> OutputSums:
        return OutputSums(
            self.difference_square + other.difference_square,
            self.reference_square + other.reference_square,
            self.rows + other.rows,
            self.disagreements + other.disagreements,
            self.divergence + other.divergence,
        )


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
    """

    samples: int = 0
    batches: int = 0
    batch_size: int = 0
    gap_samples: int = 0
    layers: Mapping[str, LayerEvidence] = field(default_factory=dict)
    activations: Mapping[str, ActivationSums] = field(default_factory=dict)
    outputs: Mapping[str, OutputSums] = field(default_factory=dict)

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(
            self.samples + other.samples,
            self.batches + other.batches,
            max(self.batch_size, other.batch_size),
            self.gap_samples + other.gap_samples,
            _merge(self.layers, other.layers),
            _merge(self.activations, other.activations),
            _merge(self.outputs, other.outputs),
        )


def count_variances(variances: Floats) -> Counts:
    """Histogram (VARIANCE_BINS,) of non-negative variances on a log2 scale; zeros go into the lowest bin."""
    positive = np.maximum(np.nan_to_num(variances, nan=0.0), 2.0**LOWEST_OCTAVE)
    index = np.floor((np.log2(positive) - LOWEST_OCTAVE) * BINS_PER_OCTAVE).astype(np.int64)
    return np.bincount(index.clip(0, VARIANCE_BINS - 1), minlength=VARIANCE_BINS).astype(np.int64)


T = TypeVar("T", ChannelSums, GroupSums)
V = TypeVar("V", LayerEvidence, ActivationSums, OutputSums)


def _either(a: T | None, b: T | None) -> T | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b


def _merge(a: Mapping[str, V], b: Mapping[str, V]) -> dict[str, V]:
    merged = dict(a)
    for name, value in b.items():
        merged[name] = merged[name] + value if name in merged else value
    return merged
