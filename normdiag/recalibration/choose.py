"""Which layers get which statistics, and why the others keep theirs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from normdiag.metrics.drift import measure_drift
from normdiag.metrics.population import Population, blended, kept_share, statistics_drift
from normdiag.observe.protocol import Statistics
from normdiag.recalibration.decide import drifts
from normdiag.recalibration.measure import EPS, Measured
from normdiag.recalibration.options import RecalibrateOptions
from normdiag.recalibration.target import Recalibratable
from normdiag.records import LayerChange, NormLayer, PopulationSums

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
    for names in target.shared(candidates(target, measured.layers)):
        seen = [measured.sums[name] for name in names if name in measured.sums]
        if seen:
            total = sum(seen[1:], seen[0])
            sums |= dict.fromkeys(names, total)
    return Measured(sums, measured.layers, measured.samples, measured.batch_size)


def changes(target: Recalibratable, measured: Measured, options: RecalibrateOptions) -> tuple[LayerChange, ...]:
    """One entry for each layer with running statistics, in network order."""
    found = measured.populations()
    layers = candidates(target, measured.layers)
    return tuple(_change(target, layer, found.get(layer.name), measured.sums, options) for layer in layers)


def _change(
    target: Recalibratable,
    layer: NormLayer,
    found: Population | None,
    sums: Mapping[str, PopulationSums],
    options: RecalibrateOptions,
) -> LayerChange:
    channels = layer.channels or 0
    obstacle = target.obstacle(layer)
    if found is None:
        return LayerChange(layer.name, layer.kind, channels, 0, 0, math.nan, math.inf, math.inf, obstacle or NOT_RUN)
    seen = sums[layer.name]
    drift, se = _drift(layer, seen, found)
    change = LayerChange(
        layer.name, layer.kind, len(found.mean), seen.sums.count, seen.elements, drift, se, found.error
    )
    return LayerChange(**{**vars(change), "kept": obstacle or _kept(change, found, options)})


def _kept(change: LayerChange, found: Population, options: RecalibrateOptions) -> str | None:
    if not options.chooses(change.layer):
        return NOT_CHOSEN
    if not (np.isfinite(found.mean).all() and np.isfinite(found.var).all()):
        return NOT_FINITE
    return NO_DRIFT if options.only_drifting and not drifts(change) else None


def _drift(layer: NormLayer, seen: PopulationSums, found: Population) -> tuple[float, float]:
    """Drift of the stored statistics with its error; NaN where these are no numbers, or there are none."""
    if layer.running_var is None or layer.running_mean is None or not np.isfinite(layer.running_mean).all():
        return math.nan, math.inf
    if layer.kind == "instance_norm":  # whose stored variance is none of the data's, but the mean of the samples'
        square = statistics_drift(layer.running_mean, layer.running_var, found, layer.eps or EPS) ** 2
        return math.sqrt(max(square - found.error**2, 0.0)), found.error
    drift = measure_drift(seen.sums, layer.running_var, layer.eps or EPS, batched=True)
    return drift.corrected, max(drift.se, (drift.upper - drift.corrected) / 2.0)  # near 0 the interval is lopsided


def new_statistics(
    target: Recalibratable, measured: Measured, chosen: Sequence[LayerChange], keep: float
) -> dict[str, Statistics]:
    """What each chosen layer gets: the measured statistics, or what is stored and right where only the mode changes."""
    layers, found = {layer.name: layer for layer in measured.layers}, measured.populations()
    shares = {each.layer: 1.0 if target.converts(layers[each.layer]) and not drifts(each) else keep for each in chosen}
    return {name: _blended(layers[name], found[name], share) for name, share in shares.items()}


def _blended(layer: NormLayer, measured: Population, keep: float) -> Statistics:
    """Stored statistics that are no numbers have no share."""
    mean, var = layer.running_mean, layer.running_var
    if mean is None or var is None or not (np.isfinite(mean).all() and np.isfinite(var).all()):
        return Statistics(measured.mean, measured.var)
    return Statistics(blended(mean, measured.mean, keep), blended(var, measured.var, keep))


def share_kept(options: RecalibrateOptions, samples: int) -> float:
    """The share of the stored statistics in the new ones."""
    if options.pseudo_count is not None:
        return kept_share(options.pseudo_count, samples)
    return options.keep or 0.0
