"""Percentiles of what enters a layer, over samples and positions: of each unit, and of all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# One standard deviation to either side of the mean of a normal distribution, as in Ioffe and Szegedy 2015, figure 1.
SHARES = (15.0, 50.0, 85.0)
# Positions of a sample that are looked at, evenly spaced.
POSITIONS = 64


@dataclass(frozen=True, eq=False)
class UnitPercentiles:
    """The three percentiles of each unit, shape (3, units), and of all values, shape (3,)."""

    units: Floats
    overall: Floats


def some_positions(values: NDArray[np.generic], axis: int) -> NDArray[np.float32]:
    """(N, units, positions) of a batch (N, ..., units, ...), with at most POSITIONS of the positions."""
    moved = np.moveaxis(values, axis, 1)
    flat = moved.reshape(moved.shape[0], moved.shape[1], -1)
    return flat[:, :, :: -(-flat.shape[2] // POSITIONS)].astype(np.float32)


def percentiles(parts: Sequence[NDArray[np.float32]]) -> UnitPercentiles:
    """Of batches as `some_positions` gives them. What is not finite is left out of the overall figures."""
    values = np.concatenate(parts).swapaxes(0, 1)
    by_unit = values.reshape(values.shape[0], -1).astype(np.float64)
    with np.errstate(all="ignore"):
        return UnitPercentiles(np.nanpercentile(by_unit, SHARES, axis=1), np.nanpercentile(by_unit, SHARES))


def moved(before: UnitPercentiles, after: UnitPercentiles) -> float | None:
    """RMS over the units of how far medians moved, in half widths of a unit before; None where units are others."""
    if before.units.shape != after.units.shape:
        return None
    step = after.units[1] - before.units[1]
    half = (before.units[2] - before.units[0]) / 2
    with np.errstate(all="ignore"):
        return float(np.sqrt(np.mean(step**2) / np.mean(half**2))) if np.mean(half**2) > 0 else None
