"""One row of metrics for every normalization layer."""

from __future__ import annotations

from collections.abc import Sequence

from normdiag.metrics.drift import batch_noise, measure_drift
from normdiag.metrics.groups import measure_groups
from normdiag.records import ChannelSums, Drift, Evidence, LayerEvidence, LayerMetrics, NormLayer


def measure_layers(layers: Sequence[NormLayer], evidence: Evidence) -> tuple[LayerMetrics, ...]:
    """The metrics of each layer, in the order given; what was not seen stays None."""
    unseen = LayerEvidence()
    return tuple(_measure(each, evidence.layers.get(each.name, unseen), evidence.batch_size) for each in layers)


def _measure(layer: NormLayer, seen: LayerEvidence, batch_size: int) -> LayerMetrics:
    drift, own = _drift(layer, seen.deployed), _drift(layer, seen.own)
    basis = own if own is not None else drift
    return LayerMetrics(
        layer=layer,
        calls=seen.calls,
        drift=drift,
        own=own,
        noise=batch_noise(basis, batch_size) if basis is not None and basis.samples > 1 else None,
        groups=measure_groups(seen.groups, layer.eps) if seen.groups is not None else None,
    )


def _drift(layer: NormLayer, sums: ChannelSums | None) -> Drift | None:
    """None where nothing was seen or eps is unknown: it would change the number."""
    if sums is None or sums.count == 0 or layer.running_var is None or layer.eps is None:
        return None
    return measure_drift(sums, layer.running_var, layer.eps)
