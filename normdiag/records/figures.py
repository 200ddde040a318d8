"""Figures of a document as numbers: what is drawn, without how it looks.

A figure stands beside the table that has its numbers, so that a renderer which cannot draw leaves nothing out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, eq=False)
class Series:
    """A value for each place, NaN where there is none, and the standard errors; none where `errors` is empty."""

    title: str
    values: Sequence[float]
    errors: Sequence[float] = ()


@dataclass(frozen=True)
class Limit:
    """A line across a chart, and what it stands for."""

    value: float
    title: str


@dataclass(frozen=True, eq=False)
class Chart:
    """Series over the same places: layers in the order of the network, or steps of the training.

    `bars` are drawn one in front of the other, the last series in front; `grouped` beside each other. `unit` is what
    the values are in. `marked` are the places at fault. `logarithmic`: values spread over orders of magnitude.
    """

    title: str
    unit: str
    places: Sequence[str]
    series: tuple[Series, ...]
    form: Literal["bars", "grouped", "lines"] = "bars"
    limits: tuple[Limit, ...] = ()
    marked: frozenset[str] = frozenset()
    logarithmic: bool = False


@dataclass(frozen=True)
class Scatter:
    """A point for each channel, from two columns of a layer; `diagonal`: both should agree."""

    title: str
    x: str
    y: str
    diagonal: bool = False


@dataclass(frozen=True)
class Histogram:
    """How many channels lie in each of the bins of equal width from `low` to `high`; `agreement` is where they should.

    What lies outside counts in the first and the last.
    """

    title: str
    unit: str
    low: float
    high: float
    counts: tuple[int, ...]
    agreement: float | None = None


@dataclass(frozen=True, eq=False)
class LayerDetail:
    """A layer to look at more closely.

    `facts` are names and values. `columns` hold numbers per channel by their title, all of the same length, the worst
    channel first; `hidden` channels more are left out. `scatters` name columns that are there. `before` and `after` are
    what leads to the layer and what follows it, step by step, as names and kinds.
    """

    name: str
    kind: str
    facts: tuple[tuple[str, str], ...] = ()
    columns: Mapping[str, Sequence[float]] | None = None
    hidden: int = 0
    scatters: tuple[Scatter, ...] = ()
    histogram: Histogram | None = None
    before: tuple[tuple[tuple[str, str], ...], ...] = ()
    after: tuple[tuple[tuple[str, str], ...], ...] = ()
