"""Which of several preparations of the same samples fits the stored statistics best, with error bars.

All preparations are seen on the same samples, so that what one sample adds cancels in their difference: errors are
those of differences, jackknifed over the parts of the samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normdiag.metrics.jackknife import jackknife, left_out
from normdiag.records import ChannelSums, NormLayer, Span
from normdiag.records.channel_sums import PARTS
from normdiag.records.preparation import NumbersFrom

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

# A network trained with crops and flips drifts by 0.1 or so on plain images that are rightly prepared: what lies closer
# together than this, drift does not tell apart.
AUGMENTATION = 0.15
# Entropies that say nothing: those of outputs that are no scores of classes, spread over more than this share of ln K.
VAGUE = 0.5
# Of the answers, what the data's own statistics may change where a preparation and the images themselves are right: up
# to 0.04 on networks that are. On other images predictions are no longer sharpest with what is right.
SETTLED = 0.05
# Drift of a preparation whose scale is off by as much: known ones do not lie closer together.
NEXT = 0.06
# Sharper by this factor, predictions speak against a smaller drift; more contrast alone makes 1.2 of it.
SHARPER = 1.5


@dataclass(frozen=True, eq=False)
class Figure:
    """A mean over samples: of all of them, and with each part left out (used,)."""

    whole: float
    without: Floats
    counts: Counts

    @property
    def se(self) -> float:
        """Standard error, jackknifed."""
        return float(jackknife(np.array([self.whole]), self.without[:, None], self.counts)[0])

    def minus(self, other: Figure) -> tuple[float, float]:
        """The difference to another figure of the same samples, and its standard error."""
        difference = Figure(self.whole - other.whole, self.without - other.without, self.counts)
        return difference.whole, difference.se


@dataclass(frozen=True, eq=False)
class Fit:
    """How well a preparation fits. `entropy` is None without class scores; `classes` is K.

    `changed` is the share of answers that the statistics of the data so prepared would change. `numbers_from` says
    where the scale and shift of the preparation come from.
    """

    drift: Figure
    entropy: Figure | None
    classes: int = 0
    changed: float | None = None
    numbers_from: NumbersFrom = "preset"

    @property
    def sharp(self) -> bool:
        """Whether the predictions are sharp enough for their entropy to mean something."""
        return self.entropy is not None and self.entropy.whole < VAGUE * np.log(max(self.classes, 2))

    @property
    def settled(self) -> bool:
        """Whether the model answers as it would with the data's own statistics, as far as it gives answers."""
        return self.changed is None or self.changed <= SETTLED


def drift_figure(layers: Sequence[tuple[NormLayer, ChannelSums]]) -> Figure:
    """The RMS over all channels of these layers of d = sqrt(z^2 + (r - 1)^2), from sums of the same samples."""
    counts = layers[0][1].counts
    rows = [_squares(layer, sums) for layer, sums in layers]
    with np.errstate(invalid="ignore"):
        roots = np.sqrt(np.concatenate(rows, axis=1).mean(1))
    return Figure(float(roots[0]), roots[1:], counts)


def entropy_figure(entropies: Floats, first: int = 0) -> Figure:
    """The mean entropy of samples (N,), the first of which is number `first` of the data."""
    span = Span(first, len(entropies))
    counts = np.bincount(span.parts(len(entropies)), minlength=PARTS).astype(np.int64)
    sums = span.sums(entropies[:, None])
    rest = len(entropies) - counts[counts > 0]
    return Figure(float(entropies.mean()), left_out(sums, counts)[:, 0] / rest, counts)


def entropies(scores: NDArray[np.float64]) -> Floats:
    """The entropy in nats of each row of class probabilities (N, K); (N,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(-np.where(scores > 0, scores * np.log(scores), 0.0).sum(1))


def in_the_running(fits: Sequence[Fit]) -> list[int]:
    """Those whose drift does not surely exceed the least by more than training with augmentation explains."""
    least = min(range(len(fits)), key=lambda index: _sortable(fits[index].drift.whole))

    def near(fit: Fit) -> bool:
        difference, se = fit.drift.minus(fits[least].drift)
        return difference <= AUGMENTATION * max(1.0, fits[least].drift.whole) + 2.0 * se

    return [index for index, fit in enumerate(fits) if index == least or near(fit)]


def clearly_better(fit: Fit, others: Sequence[Fit]) -> bool:
    """Whether what was not listed fits so much better than what is that it must be named beside it.

    It drifts less by more than training with augmentation explains; or surely less, with predictions that are surely
    sharper, than each of the others near the least drift.
    """
    if in_the_running([fit, *others]) == [0]:
        return True
    rivals = [others[index] for index in in_the_running(others)]

    def surely(rival: Fit) -> bool:
        difference, se = rival.drift.minus(fit.drift)
        return difference > 2.0 * se and _surely(rival, fit)

    return fit.sharp and all(map(surely, rivals))


def takes_most_away(fitted: Fit, fit: Fit) -> bool:
    """Whether a fitted scale and shift surely take away more than half of the drift that a preparation leaves.

    Training with augmentation leaves drift that no scale takes away. What a scale does take away comes of a wrong one,
    as with the listed preparation that is nearest to one that is not.
    """
    difference, se = fit.drift.minus(fitted.drift)
    return difference > NEXT + 2.0 * se and fitted.drift.whole < 0.5 * fit.drift.whole


def ranked(fits: Sequence[Fit]) -> list[tuple[int, str | None]]:
    """The indexes of the preparations, best first, each with what it is surely worse in than the best, or None.

    Of those near the least drift the ones with the sharpest predictions come first (Grandvalet and Bengio 2005 on
    entropy as what unlabelled data says), and of those that are as sharp the one with the least drift; without class
    scores drift alone decides. What adapts to the images or to the statistics comes after all else that is as good.
    """
    near = in_the_running(fits)
    blunt: list[int] = []
    if all(fits[index].entropy is not None for index in near):
        sharpest = min(near, key=lambda index: _sortable(_entropy(fits[index])))
        if fits[sharpest].sharp and fits[sharpest].settled:
            blunt = [index for index in near if _surely(fits[index], fits[sharpest])]
    far = set(range(len(fits))) - set(near)

    def by_drift(index: int) -> float:
        return _sortable(fits[index].drift.whole)

    alike = sorted(set(near) - set(blunt), key=lambda index: (fits[index].numbers_from != "preset", by_drift(index)))
    return [
        *((index, None) for index in alike),
        *((index, "entropy") for index in sorted(blunt, key=lambda index: _entropy(fits[index]))),
        *((index, "drift") for index in sorted(far, key=by_drift)),
    ]


def surely_first(fits: Sequence[Fit], alike: Sequence[int]) -> bool:
    """Whether the first of those that are alike, in the order of `ranked`, surely has the least drift of them."""
    differences = (fits[index].drift.minus(fits[alike[0]].drift) for index in alike[1:])
    return all(difference > 2.0 * se for difference, se in differences)


def surely_best(fits: Sequence[Fit], first: int) -> bool:
    """Whether the first of `ranked` may be named before all others whose drift is near.

    With it the model must answer as with the data's own statistics. Of each other it must be sure, by more than drift
    alone, since training with augmentation leaves as much: it has surely less drift and no surely blunter predictions,
    or far sharper ones. What was fitted to the statistics is never surely best: they say which scale and shift come
    nearest, whatever else was done to the images, and nothing is left to say that this is what was done. What
    normalizes each image by itself makes up for as much, and is best only where nothing else is near.
    """
    others = [fits[index] for index in in_the_running(fits) if index != first]
    fit = fits[first]
    if not fit.settled or fit.numbers_from == "statistics":
        return False
    return not others if fit.numbers_from == "images" else all(_before(fit, each) for each in others)


def _before(fit: Fit, other: Fit) -> bool:
    difference, se = other.drift.minus(fit.drift)
    if not fit.sharp:
        return False
    if difference > 2.0 * se:
        return not _surely(fit, other)
    return _surely(other, fit) and _entropy(other) >= SHARPER * _entropy(fit)


def _surely(fit: Fit, first: Fit) -> bool:
    """Whether its predictions are surely less sharp."""
    if fit.entropy is None or first.entropy is None:
        return False
    difference, se = fit.entropy.minus(first.entropy)
    return difference > 2.0 * se


def _entropy(fit: Fit) -> float:
    return fit.entropy.whole if fit.entropy is not None else np.inf


def _sortable(value: float) -> float:
    return np.inf if np.isnan(value) else value


def _squares(layer: NormLayer, sums: ChannelSums) -> Floats:
    """d^2 per channel, of all samples and with each part left out: (1 + used, C)."""
    count = float(sums.count)
    rest = count - sums.counts[sums.counts > 0].astype(np.float64)
    m, q = (
        np.concatenate([first.sum(0)[None] / count, left_out(first, sums.counts) / rest[:, None]])
        for first in sums.first
    )
    eps = layer.eps or 0.0
    with np.errstate(all="ignore"):
        s = np.sqrt(np.asarray(layer.running_var, np.float64) + eps)
        z, r = m / s, np.sqrt(np.maximum(q - m * m, 0.0) + eps) / s
        return np.asarray(z * z + (r - 1.0) ** 2)
