"""not_warmed_up: too few updates, so that the initial values are still in the statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from normdiag.diagnosis.cause import ON_DATA, Case, cause
from normdiag.diagnosis.evidence import fits
from normdiag.diagnosis.evidence.layers import LayerRow
from normdiag.diagnosis.evidence.seen import Seen, named
from normdiag.wording import abridged

# How much of a layer's difference a mixture of one share in all layers may leave unexplained.
LEFT = 0.12
# Mixed with a constant, variances keep their order over the channels. Others that are nothing beside it fit as well.
RELATED = 0.8


@cause("not_warmed_up", action="recalibrate", rivals="drift", fault="statistics")
def not_warmed_up(seen: Seen) -> Case | None:
    """Stored statistics are a mixture of the initial 0 and 1 and of the right values: they were updated too few times.

    What it means: each update moves the running statistics by `momentum` towards the batch; after k of them a share of
    (1 - momentum)^k of the initial 0 and 1 is left. With a momentum of 0.01 that is 60 % after 50 batches and 5 %
    after 300. Short fine-tuning after a reset, a small momentum, and a converter that took TensorFlow's 0.99 for
    PyTorch's 0.01 lead there.

    How it is told: over the channels, stored = share * initial + (1 - share) * observed explains nearly all of the
    difference, in means and variances at once, and with nearly the same share in all layers. The counter of batches,
    where there is one, says the same.

    What to do: recalibrate on training data, or train on with a larger momentum. Nothing is wrong with the weights.

    Source: Ioffe and Szegedy 2015, section 3.1; the moving average of torch.nn.BatchNorm2d.
    """
    rows = [row for row in seen.loud if _fits(row)]
    if not rows or len(rows) < 0.7 * len(seen.loud):
        return _by_counter(seen)
    share = _common(rows)
    left = fits.pooled([(row.statistics, fits.mixed_by(row.statistics, share).left) for row in rows if row.statistics])
    if share < 0.02 or left > LEFT:
        return None
    if len(rows) > 1 and any(_refutes(row, rows[0], share) for row in seen.rows if row not in rows):
        return None
    if len(rows) == 1 and seen.later and (left > LEFT / 4 or not _counted(rows[0], share)):
        return None  # of one layer alone, a shift of what enters it looks nearly the same
    return Case(
        named(rows),
        (0.99 if len(rows) > 1 else 0.96) - left,
        f"The running statistics of {_which(rows, seen)} were updated too few times: {share:.0%} of them are still the "
        "values a layer begins with.",
        f"stored = {share:.0%} of 0 and 1 + {1 - share:.0%} of observed, in {len(rows)} layers; {left:.0%} "
        "of the difference unexplained",
        ("ND104", "ND105", "ND209", *ON_DATA),
        confidence="high" if left < LEFT / 2 else "medium",
    )


def _common(rows: Sequence[LayerRow]) -> float:
    """The one share of several layers: of each, by how much it has to explain."""
    known = [(row.statistics.off, row.mixture.share) for row in rows if row.statistics and row.mixture]
    offs, shares = np.array(known).T
    return float(np.sum(offs * shares) / np.sum(offs))


def _counted(row: LayerRow, share: float) -> bool:
    """Whether the counter of batches, where there is one, allows for such a share."""
    tracked, momentum = row.layer.num_batches_tracked, row.layer.momentum
    if not tracked or momentum is None:
        return True
    return bool(abs((1.0 - momentum) ** tracked - share) < 0.1)


def _refutes(row: LayerRow, like: LayerRow, share: float) -> bool:
    """Whether a layer that was updated as often holds no such share of 0 and 1, though it would show."""
    if row.statistics is None or row.layer.num_batches_tracked != like.layer.num_batches_tracked:
        return False
    expected = fits.foretold(row.statistics, share)
    return expected > (3.0 * fits.HEALTHY) ** 2 and row.statistics.off < 0.3 * expected


def _fits(row: LayerRow) -> bool:
    mixture, power = row.mixture, row.power
    if mixture is None or power is None or mixture.share >= 0.999:
        return False
    if row.statistics is None or not fits.explains(row.statistics, mixture.left, LEFT):
        return False
    if row.correlations is None or row.correlations[1] < RELATED:
        return False
    return mixture.left < 0.6 * power.left


def _which(rows: list[LayerRow], seen: Seen) -> str:
    if len(rows) == 1 and len(seen.rows) > 1:
        return f"'{rows[0].name}'"
    return "the BatchNorm layers" if len(rows) == len(seen.rows) else f"{len(rows)} BatchNorm layers"


def _by_counter(seen: Seen) -> Case | None:
    """What the counters say, where no data says anything."""
    findings = seen.found("ND105")
    layers = tuple(dict.fromkeys(layer for each in findings for layer in each.layers))
    if not layers or seen.rows:
        return None
    return Case(
        layers,
        0.9,
        f"The running statistics of {len(layers)} layers were updated too few times since they began.",
        f"by their counters of batches: {abridged(layers)}",
        ("ND105", "ND209"),
        everywhere=False,
    )
