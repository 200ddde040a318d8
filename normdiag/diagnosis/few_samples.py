"""few_samples: statistics of a handful of samples."""

from __future__ import annotations

import numpy as np

from normdiag.diagnosis.cause import ON_DATA, Case, cause
from normdiag.diagnosis.evidence.layers import FEWEST_CHANNELS, LayerRow
from normdiag.diagnosis.evidence.seen import Seen, named

# What counts as few, and by what factor the number may differ between the layers. Less than one sample is none, but for
# the error of so small a number.
FEW, ALIKE, ONE = 64.0, 3.5, 0.8
# Beyond this no shard of a few classes, which is as far off in all layers, scatters over the channels by chance.
SURELY_CHANCE = 0.3
# The least part of its share by chance that the means of the first layer have in its drift.
LEAST_MEANS = 0.2
# A single layer tells nothing.
LEAST_LAYERS = 3
# Chance moves channels by their own scatter, deviations up and down alike, and means no more than deviations.
UNLIKE, SYSTEMATIC, MEANS, LEAST_EXCITED = -0.1, 1.5, 0.6, -0.07


@cause("few_samples", action="recalibrate", rivals="drift", fault="statistics")
def few_samples(seen: Seen) -> Case | None:
    """Stored statistics are those of a handful of samples: of the last batch, of tiny batches, of one image.

    What it means: a momentum meant the other way round (0.99 of TensorFlow keeps 99 %, of PyTorch 1 %) leaves the last
    batch alone in the running statistics; a last batch of one sample, or training in batches of two to four, leaves
    noise. The statistics are of the right data and of too little of it.

    How it is told: statistics of b samples miss those of all by a noise that is known from how batches differ. So the
    drift of each layer says as how few samples it would come about by chance. Where that number is small and nearly
    the same in all layers, and channels that scatter more are further off, chance is the explanation.

    What to do: recalibrate on training data. For the next training: larger batches, `drop_last=True`, a smaller
    momentum.

    Source: Ioffe 2017, Batch Renormalization, section 3; Wu and Johnson 2021, Rethinking "Batch" in BatchNorm.
    """
    rows = [row for row in seen.drifting if row.samples is not None and np.isfinite(row.samples)]
    if not rows or len(rows) < min(LEAST_LAYERS, len(seen.rows)) or len(rows) < 0.6 * len(seen.rows):
        return None
    sizes = np.array([row.samples for row in rows], np.float64)
    size = float(np.exp(np.mean(np.log(sizes))))
    spread = float(np.exp(np.std(np.log(sizes))))
    chance = float(np.mean([row.by_chance for row in rows]))
    if seen.excitement < LEAST_EXCITED or seen.answers.decided < -1.5:
        return None  # the features are not made for this data
    if (
        not ONE < size < FEW
        or spread > ALIKE
        or chance < UNLIKE
        or seen.systematic > SYSTEMATIC
        or seen.mean_part > MEANS
    ):
        return None
    if not _means_by_chance(seen.rows[0]):
        return None
    surely = chance > SURELY_CHANCE and spread < 2.0
    return Case(
        named(rows),
        0.9 if spread < 2.0 and seen.excitement < 0.1 else 0.86,
        f"The running statistics come from very few samples, about {max(size, 1):.0f}.",
        f"in all {len(rows)} layers the drift is what chance makes of {sizes.min():.2g} to {sizes.max():.2g} samples",
        ("ND209", *ON_DATA),
        confidence="high" if surely else "medium",
        alternatives=() if surely else ("stale_statistics",),
    )


def _means_by_chance(first: LayerRow) -> bool:
    """Whether the first layer's means are off as chance would have it, which no norm before it takes away."""
    drift = first.drift
    if first.index > 0 or drift.z.size < FEWEST_CHANNELS:
        return True
    means, spreads = (float(np.mean(np.square(each))) for each in (drift.se_z, drift.se_r))
    off = first.mean_square + first.spread_square
    return not off > 0 or first.mean_square / off > LEAST_MEANS * means / (means + spreads)
