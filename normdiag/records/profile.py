"""What a profile keeps of a model on data: sums at its points, and what they were measured on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from normdiag.records.channel_sums import PARTS, ChannelSums, Span

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
PointRole = Literal["input", "norm", "activation", "linear", "output"]
# A point with more channels than this, such as a flattened image, is kept as one channel.
MOST_CHANNELS = 1 << 16


@dataclass(frozen=True)
class Point:
    """A tensor of a model: one of its inputs or outputs, what enters a normalization layer or an activation, or what
    leaves a linear layer into which a norm was folded (which no profile keeps).

    `name` is that of the input, layer, activation or output; `kind` what the layer or activation is, as 'relu'.
    """

    role: PointRole
    name: str
    kind: str = ""


@dataclass(frozen=True, eq=False)
class PointSums:
    """The sums of a point with C channels over its samples, in float64, about `shift` (C,).

    For sample n, m_n is the mean over the channel's positions of (x - shift) and q_n that of (x - shift)^2. `counts`
    (PARTS,) says how many samples are in each part, `first` (2, PARTS, C) holds the sums of m and q by part, `second`
    (3, C) those of m^2, q^2 and m*q over all samples.
    """

    shift: Floats
    counts: Counts
    first: Floats
    second: Floats

    @classmethod
    def of(cls, m: NDArray[Any], q: NDArray[Any], shift: Floats, span: Span) -> PointSums:
        """The sums of one batch at `span` of the data, from its tables m and q (rows, C).

        Where a sample has become several rows, they count as one; a point of too many channels becomes one channel.
        """
        rows = len(m)
        if rows != span.samples and span.samples and rows % span.samples == 0:
            m, q = (each.reshape(span.samples, rows // span.samples, -1).mean(1) for each in (m, q))
        if m.shape[1] > MOST_CHANNELS:
            middle = float(np.mean(shift))
            by = shift - middle
            q = (q + 2.0 * by * m + by * by).mean(1, keepdims=True)
            m, shift = (m + by).mean(1, keepdims=True), np.array([middle])
        sums = ChannelSums.of(m, q, span)
        return cls(shift, sums.counts[:PARTS], sums.first[:, :PARTS], sums.second)

    @property
    def count(self) -> int:
        """Number of samples."""
        return int(self.counts.sum())

    @property
    def channels(self) -> int:
        """C."""
        return len(self.shift)

    @property
    def sums(self) -> ChannelSums:
        """The same for what looks at layers; how far batches differ is not kept."""
        return ChannelSums(self.counts, self.first, self.second, 1, np.zeros_like(self.second))

    def about(self, shift: Floats) -> PointSums:
        """The same sums about another shift (C,): with d the old less the new, m' = m + d and q' = q + 2dm + d^2."""
        d, n = self.shift - shift, self.counts[:, None]
        m, q = self.first
        total_m, total_q, count = m.sum(0), q.sum(0), float(self.count)
        mm, qq, mq = self.second
        first = np.stack([m + n * d, q + 2.0 * d * m + n * d * d])
        second = np.stack(
            [
                mm + 2.0 * d * total_m + count * d**2,
                qq + 4.0 * d * mq + 2.0 * d**2 * total_q + 4.0 * d**2 * mm + 4.0 * d**3 * total_m + count * d**4,
                mq + 2.0 * d * mm + d * total_q + 3.0 * d**2 * total_m + count * d**3,
            ]
        )
        return PointSums(shift, self.counts, first, second)

    def scaled(self, factor: Floats) -> PointSums:
        """The sums of the same values times a factor (C,) each, about the shift times that factor."""
        by = np.stack([factor, factor**2])
        products = np.stack([factor**2, factor**4, factor**3])
        return PointSums(self.shift * factor, self.counts, self.first * by[:, None], self.second * products)

    def grouped(self, groups: int) -> PointSums:
        """The same in as few parts as `groups`, a divisor of PARTS: the first ones, and the others empty."""
        counts, first = np.zeros_like(self.counts), np.zeros_like(self.first)
        counts[:groups] = self.counts.reshape(-1, groups).sum(0)
        first[:, :groups] = self.first.reshape(2, PARTS // groups, groups, -1).sum(1)
        return replace(self, counts=counts, first=first)

    def __add__(self, other: PointSums) -> PointSums:
        """Of both, about the shift of the first; without channels where their numbers of them differ."""
        if self.channels != other.channels:
            return PointSums(np.zeros(0), self.counts + other.counts, np.zeros((2, PARTS, 0)), np.zeros((3, 0)))
        other = other if np.array_equal(self.shift, other.shift) else other.about(self.shift)
        return PointSums(self.shift, self.counts + other.counts, self.first + other.first, self.second + other.second)


PointMap = Mapping[Point, PointSums]


@dataclass(frozen=True)
class ProfiledModel:
    """Which model a profile is of: its file, and `sha256` where there was one, and the number of its parameters."""

    path: str | None
    format: str
    backend: str
    sha256: str | None
    parameters: int | None


@dataclass(frozen=True)
class ProfiledData:
    """What a profile was measured on. `sources` are one for each part that it was merged from.

    `preprocess` says how the input was prepared, `option` is the `--preprocess` that did it, where one was given.
    """

    sources: tuple[str, ...]
    samples: int
    preprocess: str | None
    option: str | None = None


@dataclass(frozen=True, eq=False)
class Profile:
    """The sums of a run, kept. `groups` is the number of parts that their errors come from, a divisor of PARTS."""

    model: ProfiledModel
    data: ProfiledData
    points: PointMap
    groups: int = PARTS
    notes: tuple[str, ...] = ()

    @property
    def structure(self) -> str:
        """A hash of the points, their order, names and channels: the same for profiles that can be added up."""
        rows = [(each.role, each.name, each.kind, sums.channels) for each, sums in self.points.items()]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
