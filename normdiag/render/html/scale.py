"""From values to places on an axis, and the ticks that people read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from normdiag.report.words import number

# Beyond these, steps of an axis would not be numbers.
SMALLEST, LARGEST = 1e-280, 1e280
# The most that a logarithmic axis spans; what is smaller still is off it.
DECADES = 9


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high` over `length` units of the drawing, from its lower end."""

    low: float
    high: float
    length: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Where a value lies; values beyond the ends lie on them."""
        return min(max(self._share(value), 0.0), 1.0) * self.length

    def shows(self, value: float) -> bool:
        """Whether a value lies on the axis, and not on its end for being beyond it."""
        return self.low <= value <= self.high

    def ticks(self, most: int = 5) -> list[tuple[float, str]]:
        """Round values with their words, about `most` of them."""
        return [(value, number(value)) for value in (self._decades(most) if self.logarithmic else self._round(most))]

    def _share(self, value: float) -> float:
        if self.logarithmic:
            low, high = math.log10(self.low), math.log10(self.high)
            return (math.log10(max(value, self.low)) - low) / (high - low)
        return (value - self.low) / (self.high - self.low)

    def _decades(self, most: int) -> list[float]:
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        step = max(1, math.ceil((last - first + 1) / most))
        return [10.0**power for power in range(first, last + 1, step)]

    def _round(self, most: int) -> list[float]:
        step = _round_up((self.high - self.low) / most)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def scale_of(values: Sequence[float], length: float, *, logarithmic: bool) -> Scale:
    """An axis from 0, or for a logarithmic one from the smallest of the positive values, to the largest, rounded up.

    Values that are not finite are left out; of none, the axis goes from 0 to 1.
    """
    finite = [min(max(value, -LARGEST), LARGEST) for value in values if math.isfinite(value)]
    positive = [value for value in finite if value > SMALLEST]
    if logarithmic and positive:
        high = max(positive)
        low = max(min(positive), high * 10.0**-DECADES)
        bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return Scale(10.0**bottom, 10.0 ** max(top, bottom + 1), length, logarithmic=True)
    high, low = max([0.0, *finite]), min([0.0, *finite])
    if high - low < SMALLEST:
        return Scale(0.0, 1.0, length)
    step = _round_up((high - low) / 5) / 2
    return Scale(math.floor(low / step) * step, math.ceil(high * 1.02 / step) * step, length)


def _round_up(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))
