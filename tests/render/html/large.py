"""A report on a model of a thousand norms, with all that a page can show of them."""

from __future__ import annotations

from dataclasses import replace

from normdiag.records import ActivationMetrics, GradientProduct, LayerMetrics, Neighbours, Report
from tests.report.reports import batch_norm, healthy, random_drift


def thousand_norms(channels: int = 256) -> Report:
    """Every norm with its drift, an activation after it, and neighbours, under names as long as real ones are."""
    places = [f"encoder.blocks.{i // 4}.stage" for i in range(1000)]
    drifts = [random_drift(i, channels, 0.12 * (1 + i / 1000)) for i in range(10)]
    layers = tuple(
        LayerMetrics(batch_norm(f"{place}.norm{i % 4}", channels, i), 16, drifts[i % 10], drifts[-i % 10], 0.02)
        for i, place in enumerate(places)
    )
    acts = tuple(ActivationMetrics(f"{p}.act{i % 4}", "relu", 0.4, 0.6, 256, 0) for i, p in enumerate(places))
    beside = tuple(
        Neighbours(m.layer.name, *(tuple(((f"{p}.op{k}", "conv"),) for k in range(3)) for _ in range(2)))
        for m, p in zip(layers, places, strict=True)
    )
    return replace(
        healthy(),
        layers=layers,
        activations=acts,
        gradient=GradientProduct(1000, 0.0, 0.0, 0.0),
        neighbours=beside,
    )
