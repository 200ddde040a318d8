"""What stands below a chart: names where they fit, else those of the parts of the network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

# Width of a character of the labels, in units of the drawing.
CHARACTER = 6.6
MOST_PARTS, DEEPEST = 16, 5


@dataclass(frozen=True)
class PlaceLabel:
    """A text, centred at `middle`, for the places from `start` on, in units of the drawing."""

    text: str
    start: float
    middle: float


def place_labels(places: Sequence[str], length: float) -> list[PlaceLabel]:
    """The names of the places along an axis of this length, or of parts of the network, or numbers where neither fits.

    Parts are runs of names with the same beginning, taken as deep as most of their labels fit.
    """
    slot = length / max(len(places), 1)
    if max(map(len, places), default=0) * CHARACTER < slot:
        return [PlaceLabel(name, 0.0, (index + 0.5) * slot) for index, name in enumerate(places)]
    fitting = [labels for labels in (_parts(places, depth, slot) for depth in range(DEEPEST, 0, -1)) if labels]
    return fitting[0] if fitting else _numbered(len(places), slot)


def _parts(places: Sequence[str], depth: int, slot: float) -> list[PlaceLabel]:
    """Runs of the same first `depth` words; none where they are one, too many, or too narrow for most of the names."""
    runs, start = [], 0
    for name, run in groupby(places, key=lambda place: _beginning(place, depth)):
        size = len(list(run))
        runs.append((name, start, size))
        start += size
    if not 2 <= len(runs) <= MOST_PARTS:
        return []
    shared = _shared([name for name, _, _ in runs])
    labels = [(name.removeprefix(shared), start, size) for name, start, size in runs]
    fitting = [label for label in labels if len(label[0]) * CHARACTER <= label[2] * slot]
    if 2 * len(fitting) < len(labels):
        return []
    return [
        PlaceLabel(name if (name, start, size) in fitting else "", start * slot, (start + size / 2) * slot)
        for name, start, size in labels
    ]


def _shared(names: Sequence[str]) -> str:
    """The words that all names begin with."""
    first, last = min(names), max(names)
    same = next((index for index, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return re.sub(r"[^./]*$", "", first[:same])


def _beginning(name: str, depth: int) -> str:
    return "".join(re.split(r"(?<=[./])", name)[:depth]).rstrip("./")


def _numbered(places: int, slot: float) -> list[PlaceLabel]:
    """Every tenth or so of the places by its number, from 1 on."""
    step = next(size for power in range(9) for size in (10**power, 5 * 10**power) if places / size <= 12)
    return [PlaceLabel(f"{n}", 0.0, (n - 0.5) * slot) for n in range(step, places + 1, step)]
