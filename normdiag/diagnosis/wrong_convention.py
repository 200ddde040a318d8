"""wrong_convention: the right statistics in another form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from normdiag.diagnosis.cause import ON_DATA, Case, cause
from normdiag.diagnosis.evidence.fits import Power, explains, pooled
from normdiag.diagnosis.evidence.layers import LayerRow
from normdiag.diagnosis.evidence.seen import Seen, named
from normdiag.records import NormLayer
from normdiag.wording import abridged

# What one form in all layers may leave unexplained, and how far the logarithms of its factor may differ.
LEFT, ALIKE = 0.06, 0.1
# Frameworks use 1e-6 to 1e-3. A larger one counts where it is a tenth of the variance and more.
USUAL_EPS, EPS_PART = 5e-3, 0.1
WORDS = {
    (0.5, 1): "holds the standard deviation",
    (2.0, 1): "holds the square of the variance",
    (-0.5, 1): "holds the inverse of the standard deviation",
    (-1.0, 1): "holds the inverse of the variance",
}


@cause("wrong_convention", action="recalibrate", rivals="drift", fault="statistics")
def wrong_convention(seen: Seen) -> Case | None:
    """The stored statistics are right but for their form: a deviation for a variance, another factor, a sign, an eps.

    What it means: frameworks store variances, deviations or their inverses, with eps inside or outside of the root,
    and means with either sign. Weights that were converted without heeding that hold all the information, in the
    wrong form.

    How it is told: over the channels, the stored variance is the same power of the observed one, or the same multiple
    of it, with hardly anything unexplained, in all layers concerned, while the means agree (or agree but for the sign).
    An eps counts where it is far above the usual and large beside the stored variances.

    What to do: recalibrate on training data, or correct the conversion. For an eps, set the one of training and export
    again.

    Source: the definitions of running_var in torch.nn.BatchNorm2d and of moving_variance in Keras.
    """
    return _of_statistics(seen) or _of_eps(seen) or _of_samples(seen)


def _of_statistics(seen: Seen) -> Case | None:
    fits = {row: fit for row in seen.loud if (fit := _slip(row)) is not None}
    if not fits or len(fits) < 0.7 * len(seen.loud):
        return None
    kinds = {(fit.power, fit.sign) for fit in fits.values()}
    factors = np.array([fit.factor for fit in fits.values()])
    left = pooled([(row.statistics, fit.left) for row, fit in fits.items() if row.statistics is not None])
    if len(kinds) > 1 or left > LEFT or not _alike(np.log(factors)):
        return None
    (kind,) = kinds
    rows = list(fits)
    at_input = [row.index for row in rows] == [0] and (len(seen.rows) > 1 or not seen.local)
    if kind[1] < 0 and (at_input or np.any(np.abs(np.log(factors)) > 0.2)):
        return None
    if at_input and kind == (1.0, 1) and seen.fault is None:
        return None  # an input of another scale looks the same
    if kind == (1.0, 1) and len(rows) > 1 and abs(np.log(np.median(factors))) < 0.2:
        return None
    which = f"'{rows[0].name}'" if len(rows) == 1 else f"{len(rows)} layers"
    form = WORDS.get(kind, f"is {np.median(factors):.3g} times what it should be")
    what = f"The running_var of {which} {form}."
    if kind[1] < 0:
        what = f"The running_mean of {which} has the wrong sign."
    # One form in several layers is no accident; what enters the first alone, measured as deployed, is rather the input.
    weight = 0.99 if len(rows) > 1 else 0.95 if seen.local or not at_input else 0.5
    return Case(
        named(rows),
        weight - left,
        what,
        f"the same in all {sum(len(row.drift.z) for row in rows)} channels; {left:.1%} of the difference unexplained",
        ("ND107", "ND102", "ND103", "ND209", *ON_DATA),
        alternatives=("input_preparation",) if at_input and kind == (1.0, 1) else (),
    )


def _alike(logs: NDArray[np.float64]) -> bool:
    """Whether the factors of all layers are one, but for what data adds in the one or the other."""
    apart = np.abs(logs - np.median(logs))
    return bool(np.median(apart) < ALIKE and np.max(apart) < 4.0 * ALIKE)


def _slip(row: LayerRow) -> Power | None:
    """The form that explains a layer's difference, if one does and better than a mixture with 0 and 1."""
    power, mixture = row.power, row.mixture
    if power is None or mixture is None or row.statistics is None or power.left > 0.6 * mixture.left:
        return None
    if not explains(row.statistics, power.left, LEFT):
        return None
    return power


def _of_samples(seen: Seen) -> Case | None:
    """InstanceNorms that were trained with the statistics of each sample and run with averages of them."""
    findings = [each for each in seen.found("ND302") if each.evidence.get("of_samples")]
    if not findings:
        return None
    return Case(
        tuple(each.layer.name for each in seen.report.layers if each.drift is not None),
        0.9,
        "The norms were trained on the statistics of each sample, and run on averages over all samples.",
        findings[0].text,
        ("ND302",),
        action="reexport",
        remedy=findings[0].remedy,
    )


def _of_eps(seen: Seen) -> Case | None:
    layers = [layer for layer in seen.norms if _large_eps(layer)]
    if not layers:
        return None
    eps = max(layer.eps or 0.0 for layer in layers)
    names = tuple(layer.name for layer in layers)
    return Case(
        names,
        0.93,
        f"eps is {eps:g} in {len(names)} layers, so large beside their variances that it changes what they compute.",
        f"{abridged(names)}: eps is {_part(layers[0]):.0%} of the median stored variance; frameworks use 1e-3 at most",
        ("ND103", *ON_DATA),
        action="reload_weights",
        remedy="Set the eps that the model was trained with, and export again.",
    )


def _large_eps(layer: NormLayer) -> bool:
    return layer.eps is not None and layer.eps > USUAL_EPS and _part(layer) > EPS_PART


def _part(layer: NormLayer) -> float:
    """eps over the median stored variance."""
    if layer.running_var is None or layer.eps is None:
        return 0.0
    variance = float(np.median(np.asarray(layer.running_var, np.float64)))
    return layer.eps / variance if variance > 0 else 0.0
