"""One row of metrics for every normalization layer."""

from __future__ import annotations

from collections.abc import Sequence

from normdiag.metrics.drift import batch_noise, measure_drift
from normdiag.metrics.groups import measure_groups
from normdiag.metrics.stored import measure_stored_fit
from normdiag.records import ChannelSums, Drift, Evidence, LayerEvidence, LayerMetrics, NormLayer


def measure_layers(layers: Sequence[NormLayer], evidence: Evidence) -> tuple[LayerMetrics, ...]:
    """The metrics of each layer, in the order given; what was not seen stays None."""
    unseen = LayerEvidence()
    return tuple(_measure(each, evidence.layers.get(each.name, unseen), evidence.batch_size) for each in layers)


def _measure(layer: NormLayer, seen: LayerEvidence, batch_size: int) -> LayerMetrics:
    drift, own = _drift(layer, seen.deployed), _drift(layer, seen.own, batched=True)
    basis = own if own is not None else drift
    size, size_se = effective_samples(own) if own is not None else (None, None)
    return LayerMetrics(
        layer=layer,
        calls=seen.calls,
        drift=drift,
        own=own,
        noise=batch_noise(basis, batch_size) if basis is not None else None,
        groups=measure_groups(seen.groups, layer.eps) if seen.groups is not None else None,
        effective_samples=size,
        effective_samples_se=size_se,
        stored_fit=measure_stored_fit(layer, seen.own, own) if own is not None and seen.own is not None else None,
    )


def effective_samples(own: Drift) -> tuple[float | None, float | None]:
    """b (noise / local drift)^2 at any batch size b, and its standard error; None where no two batches were seen.

    Statistics of b samples miss the data's by a mean square of spread^2 / b. Infinite where there is no drift.
    """
    if own.batch_spread is None:
        return None, None
    if not own.square > 0:
        return float("inf"), float("inf")
    size = own.batch_spread**2 / own.square
    return size, size * own.square_se / own.square


def _drift(layer: NormLayer, sums: ChannelSums | None, *, batched: bool = False) -> Drift | None:
    """None where nothing was seen or eps is unknown: it would change the number."""
    if sums is None or sums.count == 0 or layer.running_var is None or layer.eps is None:
        return None
    return measure_drift(sums, layer.running_var, layer.eps, batched=batched)
