"""What was seen of the data: only sums, so that evidence of two batches, files or machines is their sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from normdiag.records.activation_sums import ActivationSums
from normdiag.records.channel_sums import ChannelSums, Span
from normdiag.records.group_sums import GroupSums
from normdiag.records.profile import Point, PointSums

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


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
class Marks:
    """Answers held against labels: counts (2, 2) of samples, by right or not before (0, 1) and right or not after.

    `labels` (K,) counts the samples by their label.
    """

    counts: Counts
    labels: Counts

    @classmethod
    def of(cls, before: NDArray[Any], after: NDArray[Any], labels: NDArray[Any], classes: int) -> Marks:
        """From the answers (N,) before and after, and the labels (N,), each the index of one of the classes."""
        kinds = 2 * (before == labels) + (after == labels)
        counts = np.bincount(kinds, minlength=4).reshape(2, 2).astype(np.int64)
        return cls(counts, np.bincount(labels, minlength=classes).astype(np.int64))

    def __add__(self, other: Marks) -> Marks:
        return Marks(self.counts + other.counts, self.labels + other.labels)


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
