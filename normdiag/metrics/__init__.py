"""From sums to numbers with error bars: pure numpy."""

from normdiag.metrics.activations import gradient_product, measure_activations
from normdiag.metrics.drift import batch_noise, measure_drift, observed_statistics
from normdiag.metrics.gap import (
    answered_classes,
    explained,
    held_against_labels,
    measure_gap,
    needs_explaining,
    output_change,
    rank_attribution,
    recalibration_change,
)
from normdiag.metrics.layers import measure_layers

__all__ = [
    "answered_classes",
    "batch_noise",
    "explained",
    "gradient_product",
    "held_against_labels",
    "measure_activations",
    "measure_drift",
    "measure_gap",
    "measure_layers",
    "needs_explaining",
    "observed_statistics",
    "output_change",
    "rank_attribution",
    "recalibration_change",
]
