"""wrong_affine: gamma and beta exchanged, lost or foreign."""

from __future__ import annotations

import numpy as np

from normdiag.diagnosis.cause import ON_DATA, Case, cause
from normdiag.diagnosis.evidence.layers import LayerRow
from normdiag.diagnosis.evidence.seen import SURELY_ALONG, Seen
from normdiag.diagnosis.foreign_statistics import UNRELATED
from normdiag.wording import abridged

# The part of the means in the drift of a layer whose input has another mean than in training.
MEANS = 0.3
# That is less where values are larger or smaller by one factor, and how nearly it has to be one.
MEANS_OF_SCALE, UNIFORM = 0.05, 0.2
# Layers that may add up before the next norm: a residual branch, its shortcut and what went before.
BRANCHES = 3


@cause("wrong_affine", action="reload_weights", rivals="drift", fault="statistics")
def wrong_affine(seen: Seen) -> Case | None:
    """A layer's gamma and beta are not those of training: exchanged, lost, in another order or of another model.

    What it means: the layer normalizes rightly and then scales and shifts wrongly, so that all that follows gets
    values it was not trained on. Converters that exchange weight and bias, or store gamma less one, do that.

    How it is told: without data, by gamma and beta themselves, which have habits: gamma stays positive in nearly all
    channels, beta takes both signs. With data, by the place where drift begins: with batch statistics in all layers,
    an input's mean depends on the gammas, betas and weights before it alone, not on the data. So where the layers up
    to some norm are right and the means after it are not, that norm's gamma and beta are the suspects (or the weights
    between). What they do to the next means goes along the strong directions of these weights, where statistics that
    are wrong by themselves are off in all directions alike.

    What to do: load the layer again from the file that was saved in training. Recalibrating hides part of the damage.

    Source: Ioffe and Szegedy 2015, algorithm 1.
    """
    odd = seen.odd_affine
    suspects = [name for name in odd if name in _before_the_drift(seen)] or _unseen(seen)
    if odd and (suspects or not seen.rows or _certain(odd)):
        layers = tuple(suspects or odd)
        where = f"'{layers[0]}'" if len(layers) == 1 else f"{len(layers)} layers"
        return Case(
            layers,
            0.97 if suspects or _certain(odd) else 0.9,
            f"Gamma and beta of {where} are not those of training.",
            f"{abridged(layers)}: {odd[layers[0]]}",
            ("ND106", "ND109", "ND209", *ON_DATA),
            severity="error",
        )
    return _by_place(seen)


def _certain(odd: dict[str, str]) -> bool:
    return any("exchanged" in what for what in odd.values())


def _before_the_drift(seen: Seen) -> tuple[str, ...]:
    """The norms up to the first whose input is off, as far as they may feed it."""
    return () if seen.begins is None else tuple(row.name for row in seen.rows[: seen.begins.index])


def _unseen(seen: Seen) -> list[str]:
    """Odd norms, with gammas of the wrong sign, after which no other norm would show it."""
    last = {row.name for row in seen.rows[-2:]}
    return [name for name, what in seen.odd_affine.items() if name in last and "negative" in what]


def _likeliest(seen: Seen, begins: LayerRow) -> LayerRow:
    """Of the few norms that may feed a layer, the one with the most unusual gammas; else the one just before it."""
    sizes = {row.name: _size(row) for row in seen.rows}
    usual = float(np.median([size for size in sizes.values() if size > 0] or [1.0]))
    near = seen.rows[max(begins.index - BRANCHES, 0) : begins.index]
    unusual = {row: abs(np.log(max(sizes[row.name], 1e-9) / usual)) for row in near}
    odd = max(near, key=lambda row: unusual[row])
    return odd if unusual[odd] > np.log(2.0) else near[-1]


def _scaled(seen: Seen, begins: LayerRow) -> bool:
    """Whether all channels of one later layer vary by one factor, which no data does to it alone."""
    middle, spread = begins.log_ratio
    return begins in seen.isolated and spread < UNIFORM * abs(middle)


def _size(row: LayerRow) -> float:
    return 0.0 if row.layer.gamma is None else float(np.median(np.abs(np.asarray(row.layer.gamma, np.float64))))


def _of_weights(seen: Seen, begins: LayerRow) -> bool:
    """Whether its own statistics are wrong, or the weights just before it changed; or weights before that, too."""
    own = seen.mismatch(begins) or seen.along([begins]) < -SURELY_ALONG
    return own or any(map(seen.mismatch, seen.rows[: begins.index]))


def _by_place(seen: Seen) -> Case | None:
    begins = seen.begins
    if begins is None or begins.correlations is None:
        return None
    fed = seen.fed_otherwise(begins)
    if max(begins.correlations) < UNRELATED and not fed:
        return None
    moved = begins.mean_square / (begins.mean_square + begins.spread_square)
    if moved < (MEANS_OF_SCALE if _scaled(seen, begins) else MEANS):
        return None
    if _of_weights(seen, begins):
        return None
    if len(seen.drifting) == 1 and begins.index < len(seen.rows) - 1 and not fed:
        return None  # its own statistics, for anything else would go on
    before, last = _likeliest(seen, begins), begins.index == len(seen.rows) - 1
    return Case(
        (before.name, begins.name),
        0.72,
        f"Gamma and beta of '{before.name}', or the weights after it, are not those of training.",
        f"up to '{before.name}' the statistics fit; the means that reach '{begins.name}' are off by "
        f"{begins.mean_square**0.5:.2g} standard deviations, and no other data could move them",
        ("ND209", *ON_DATA),
        confidence="medium",
        alternatives=("foreign_statistics", "stale_statistics") if last else ("foreign_statistics",),
        test="recalibrate: if the accuracy does not come back, the weights are wrong, not the statistics",
    )
