"""Which layers get which statistics, and why the others keep theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from normdiag.metrics.drift import measure_drift
from normdiag.metrics.population import Population, blended, kept_share, statistics_drift
from normdiag.observe.protocol import ReplacedStatistics
from normdiag.recalibration.decide import drifts
from normdiag.recalibration.measure import EPS, Measured
from normdiag.recalibration.options import RecalibrateOptions
from normdiag.recalibration.target import Recalibratable
from normdiag.records import NormLayer
from normdiag.records.recalibration import LayerChange

NOT_RUN = "it did not run on this data"
NOT_CHOSEN = "not among --layers"
NO_DRIFT = "the data does not contradict its statistics"
NOT_FINITE = "its input is not finite on this data"


def candidates(target: Recalibratable, layers: Sequence[NormLayer]) -> list[NormLayer]:
    """The layers that have running statistics, or are in training mode and should have."""
    kinds = ("batch_norm", "instance_norm")
    return [each for each in layers if each.kind in kinds and (each.has_statistics or target.converts(each))]


def pooled(target: Recalibratable, measured: Measured) -> Measured:
    """The same with the sums of layers that share their statistics added up."""
    sums = dict(measured.sums)
    for names in target.shared(candidates(target, measured.model_layers)):
        seen = [measured.sums[name] for name in names if name in measured.sums]
        if seen:
            total = sum(seen[1:], seen[0])
            sums |= dict.fromkeys(names, total)
    return replace(measured, sums=sums)


def changes(target: Recalibratable, measured: Measured, options: RecalibrateOptions) -> tuple[LayerChange, ...]:
    """One entry for each layer with running statistics, in network order."""
    return tuple(_change(target, layer, measured, options) for layer in candidates(target, measured.model_layers))


def _change(target: Recalibratable, layer: NormLayer, measured: Measured, options: RecalibrateOptions) -> LayerChange:
    found, obstacle = measured.populations.get(layer.name), target.obstacle(layer)
    if found is None:
        unknown = math.nan, math.inf, math.inf
        return LayerChange(layer.name, layer.kind, layer.channels or 0, 0, 0, *unknown, obstacle or NOT_RUN)
    seen = measured.sums[layer.name]
    counts = len(found.mean), seen.sums.count, seen.elements
    change = LayerChange(layer.name, layer.kind, *counts, *_drift(layer, measured, found), found.error)
    stored = target.converts(layer) and not drifts(change)
    kept = obstacle or _kept(change, found, options)
    return replace(change, kept=kept, uses="stored" if stored else "measured")


def _kept(change: LayerChange, found: Population, options: RecalibrateOptions) -> str | None:
    if not options.chooses(change.layer):
        return NOT_CHOSEN
    if not (np.isfinite(found.mean).all() and np.isfinite(found.var).all()):
        return NOT_FINITE
    return NO_DRIFT if options.only_drifting and not drifts(change) else None


def _drift(layer: NormLayer, measured: Measured, found: Population) -> tuple[float, float]:
    """Drift of the stored statistics with its error; NaN where these are no numbers, or there are none."""
    mean, var, eps = layer.running_mean, layer.running_var, layer.eps or EPS
    if mean is None or var is None or not np.isfinite(mean).all():
        return math.nan, math.inf
    if layer.kind == "instance_norm" or measured.stored is not None:
        # What an InstanceNorm stores is no variance of the data; and in later passes the sums are about other means.
        square = statistics_drift(mean, var, found, eps) ** 2
        return math.sqrt(max(square - found.error**2, 0.0)), found.error
    drift = measure_drift(measured.sums[layer.name].sums, var, eps, batched=True)
    return drift.corrected, max(drift.se, (drift.upper - drift.corrected) / 2.0)  # near 0 the interval is lopsided


def new_statistics(measured: Measured, chosen: Sequence[LayerChange], keep: float) -> dict[str, ReplacedStatistics]:
    """What each chosen layer gets: the measured statistics, or what is stored and right where only the mode changes."""
    layers, found = {layer.name: layer for layer in measured.model_layers}, measured.populations
    shares = {each.layer: 1.0 if each.uses == "stored" else keep for each in chosen}
    return {name: _blended(layers[name], found[name], share) for name, share in shares.items()}


def _blended(layer: NormLayer, measured: Population, keep: float) -> ReplacedStatistics:
    """Stored statistics that are no numbers have no share."""
    mean, var = layer.running_mean, layer.running_var
    if mean is None or var is None or not (np.isfinite(mean).all() and np.isfinite(var).all()):
        return ReplacedStatistics(measured.mean, measured.var)
    return ReplacedStatistics(blended(mean, measured.mean, keep), blended(var, measured.var, keep))


def share_kept(options: RecalibrateOptions, samples: int) -> float:
    """The share of the stored statistics in the new ones."""
    if options.pseudo_count is not None:
        return kept_share(options.pseudo_count, samples)
    return options.keep or 0.0
