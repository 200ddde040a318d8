"""Where means that moved come from: from what enters a layer, or from statistics that are not those of the weights.

A linear layer of F inputs and C > F outputs can move its C means in F directions only, whatever it is fed. What lies
outside of these says that statistics and weights do not belong together, and data has nothing to do with it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from normdiag.diagnosis.evidence.fits import chance
from normdiag.diagnosis.evidence.layers import LayerRow

# Dimensions that an input cannot reach, below which nothing is told by them.
FEWEST_FREE = 3
# How many times its sampling error, as squares, a move has to be.
SURELY = 4.0
# What no input makes, beside the drift, as deviations: up to this much is the chance of images, and so much more of a
# border that changes otherwise than the whole image.
CHANCE, OF_BORDER = 0.15, 0.2
# And in stored standard deviations.
LEAST = 0.03
# What one factor may leave of means that are off in their form, and what counts of the strongest direction at least.
OF_FORM, WEAKEST = 0.2, 0.03
# From this part of the positions on, it is the border of the images rather than the weights that moves means.
MOST_BORDER = 0.3
# Channels that moved by so many times the median outweigh all others.
OUTLIER = 6.0


@dataclass(frozen=True)
class Reach:
    """Of one or several layers, as mean squares: `off` is the drift, `unreached` what of it no input can make.

    `border` is the part of the positions where an image's edge may do that after all.
    """

    off: float
    unreached: float
    border: float

    @property
    def part(self) -> float:
        """The part of the drift that no input can make, as deviations."""
        return float(np.sqrt(self.unreached / self.off)) if self.off > 0 else 0.0

    @property
    def mismatch(self) -> bool:
        """Whether statistics and weights surely do not belong together."""
        return self.unreached > LEAST**2 and self.part > CHANCE + OF_BORDER * self.border

    @property
    def by_input(self) -> bool:
        """Whether what an input cannot make is nothing beside the drift."""
        return self.part < CHANCE


def reach(row: LayerRow) -> Reach | None:
    """None where the layer's linear layer is unknown or too wide at its input, and where its means hardly moved."""
    response, deviation = row.metrics.response, row.deviation
    if response is None or deviation is None:
        return None
    usable = row.alive & np.isfinite(row.drift.z)
    moves, directions = row.drift.z[usable], response.directions[usable] / deviation[usable, None]
    free = len(moves) - directions.shape[1]
    noise = float(np.mean(row.drift.se_z[usable] ** 2))
    if free < FEWEST_FREE or not np.mean(moves**2) > SURELY * noise:
        return None
    basis, _ = np.linalg.qr(directions)
    left = moves - basis @ (basis.T @ moves)
    return Reach(row.off**2, max(float(left @ left) / free - noise, 0.0), response.border)


def along_weights(row: LayerRow) -> float | None:
    """Log-likelihood, in nats, of moved means as moved at the inputs of the layer's weights rather than one by one.

    Weights pass on some directions far more strongly than others, also where they have as many inputs as outputs. So
    what another input, or another gamma and beta before the weights, does to the means lies in their strong singular
    directions; statistics of something else are off in all alike. What of it goes along the observed means, which the
    weights make anyway, does not count. None where weights are unknown or too wide, and where the means are not surely
    off or by one factor, which is a matter of their form.
    """
    response, deviation, stored = row.metrics.response, row.deviation, row.layer.running_mean
    if response is None or deviation is None or stored is None or response.border > MOST_BORDER:
        return None
    if row.mean_square < LEAST**2:
        return None  # means that hardly moved did not move anywhere
    size = np.linalg.norm(response.directions, axis=1)  # how strongly each mean answers to all inputs
    with np.errstate(all="ignore"):
        moves, errors = (each * deviation / size for each in (row.drift.z, row.drift.se_z))
        observed, directions = np.asarray(stored, np.float64) / size + moves, response.directions / size[:, None]
    usable = row.alive & np.isfinite(moves)
    usable &= np.abs(moves) < OUTLIER * np.median(np.abs(moves[usable]))  # what holds for all holds without some
    moves, observed, directions = moves[usable], observed[usable], directions[usable]
    if not moves.size or directions.shape[1] < len(moves):
        return None
    off, noise = float(moves @ moves), float(np.sum(errors[usable] ** 2))
    moves = moves - observed * (float(observed @ moves) / max(float(observed @ observed), 1e-30))
    if float(moves @ moves) < OF_FORM * off or float(moves @ moves) < SURELY * noise:
        return None
    basis, strengths, _ = np.linalg.svd(directions, full_matrices=False)
    return len(moves) * chance(basis.T @ moves, np.maximum(strengths, WEAKEST * strengths[0]))


def together(layers: Collection[Reach]) -> Reach | None:
    """Of several layers, as sums; None of none."""
    off = sum(each.off for each in layers)
    if not off > 0:
        return None
    border = sum(each.off * each.border for each in layers) / off
    return Reach(off, sum(each.unreached for each in layers), border)
