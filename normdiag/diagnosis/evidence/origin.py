"""Where means that moved come from: from what enters a layer, or from statistics that are not those of the weights.

A linear layer of F inputs and C > F outputs can move its C means in F directions only, whatever it is fed. What lies
outside of these says that statistics and weights do not belong together, and data has nothing to do with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from normdiag.diagnosis.evidence.layers import LayerRow

# Dimensions that an input cannot reach, below which nothing is told by them.
FEWEST_FREE = 3
# How many times its sampling error, as squares, a move has to be.
SURELY = 4.0
# From this part on and by so many stored standard deviations, what no input makes is neither rounding nor the border of
# an image, whose mean is another than that of the whole. Below the second part, the input makes it all.
PART, LEAST, NOTHING = 0.2, 0.03, 0.1


@dataclass(frozen=True)
class Reach:
    """Of one layer: `moved`, the mean square of its means' moves, and the part of it that no input can make, 0 to 1."""

    moved: float
    unreached: float

    @property
    def by_input(self) -> bool:
        """Whether another input makes all of it."""
        return self.unreached < NOTHING

    @property
    def by_mismatch(self) -> bool:
        """Whether statistics and weights surely do not belong together."""
        return self.unreached > PART and self.unreached * self.moved > LEAST**2


def reach(row: LayerRow) -> Reach | None:
    """None where the layer's linear layer is unknown or too wide at its input, and where its means hardly moved."""
    response, deviation = row.metrics.response, row.deviation
    if response is None or deviation is None:
        return None
    usable = row.alive & np.isfinite(row.drift.z)
    moves, directions = row.drift.z[usable], response[usable] / deviation[usable, None]
    free = len(moves) - directions.shape[1]
    noise = float(np.mean(row.drift.se_z[usable] ** 2))
    if free < FEWEST_FREE or not np.mean(moves**2) > SURELY * noise:
        return None
    basis, _ = np.linalg.qr(directions)
    left = moves - basis @ (basis.T @ moves)
    moved = float(np.mean(moves**2)) - noise
    return Reach(moved, min(max(float(left @ left) / free - noise, 0.0) / moved, 1.0))
