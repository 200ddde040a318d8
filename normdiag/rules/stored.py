"""What stored statistics look like, and what the data says of them."""

from __future__ import annotations

import numpy as np

from normdiag.records import LayerMetrics, NormLayer


def contradicted(metrics: LayerMetrics, limit: float) -> bool | None:
    """Whether the data says that a layer's statistics are wrong (True) or right (False); None where it does not say.

    `limit` is a drift: wrong where the 2-sigma interval lies above it, right where it lies below.
    """
    drift = metrics.own or metrics.drift
    if drift is None or not np.isfinite(drift.rms):
        return None
    if drift.lower > limit:
        return True
    return False if drift.upper < limit else None


def agreed(metrics: LayerMetrics, limit: float) -> bool:
    """Whether data agrees with what is stored: the drift's 2-sigma interval reaches below `limit`, and not far up."""
    drift = metrics.own or metrics.drift
    if drift is None or not np.isfinite(drift.rms):
        return False
    return drift.lower <= limit and drift.upper < 5.0 * limit


def is_initial(layer: NormLayer) -> bool:
    """Whether a layer has running statistics as they begin: means of 0, variances of 1."""
    if layer.running_mean is None or layer.running_var is None:
        return False
    return is_all(layer.running_mean, 0.0) and is_all(layer.running_var, 1.0)


def is_all(values: object, constant: float) -> bool:
    """Whether all values are this number."""
    return bool(np.all(np.asarray(values, np.float64) == constant))
